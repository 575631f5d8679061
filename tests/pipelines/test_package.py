"""The package that is uploaded: valid for Kubeflow, without copies, and the same bytes for the same input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")

from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2

from nofrost.config import load_study
from nofrost.store import open_store
from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical, push_source, write_package
from tests.pipelines.conftest import Program
from tests.pipelines.package_graph import plan_of

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/pipelines/golden"
GOLDEN_OPTIONS = ("--study", "tests/pipelines/golden/study.yaml", "--shards", "2", "--gpus", "1")


def command(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_data_on_s3_are_fetched_by_the_task_and_not_pushed(tmp_path: Path) -> None:
    study = load_study("digits", ["dataset.source=folder", "dataset.path=s3://bucket/photos"])
    assert push_source(study, None, open_store(str(tmp_path / "store"))) == ""
    assert not (tmp_path / "store").exists()


def test_a_compiled_study_is_the_golden_file(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "nofrost.yaml"
    ended = program("compile", *GOLDEN_OPTIONS, "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    again = f"python -m pipelines compile {' '.join(GOLDEN_OPTIONS)} --out tests/pipelines/golden/nofrost.yaml"
    assert out.read_text(encoding="utf-8") == (GOLDEN / "nofrost.yaml").read_text(encoding="utf-8"), again


def test_compiling_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """kfp numbers copies in the order of a hash table, which this seed changes; that of the tests is drawn."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.pipelines.package_graph import plan_of\nfrom pipelines.cluster_settings import Cluster\n"
        "from pipelines.graph import make_pipeline\n"
        "from pipelines.graph_settings import GraphSettings\n"
        "from pipelines.package import canonical, write_package\n"
        "pipeline = make_pipeline(plan_of(3, 2), GraphSettings(Cluster(), shards=3, gpus=1))\n"
        "write_package(Path(sys.argv[1]), canonical(pipeline))"
    )
    ended = command("-c", script, str(tmp_path / "there.yaml"), hash_seed="7")
    assert ended.returncode == 0, ended.stderr
    pipeline = make_pipeline(plan_of(3, 2), GraphSettings(Cluster(), shards=3, gpus=1))
    write_package(tmp_path / "here.yaml", canonical(pipeline))
    assert (tmp_path / "here.yaml").read_bytes() == (tmp_path / "there.yaml").read_bytes()


@pytest.mark.parametrize("make", [make_pipeline, make_part_pipeline])
def test_the_package_has_the_form_that_kubeflow_reads(make: Any) -> None:
    spec, platform = canonical(make(plan_of(2), GraphSettings(Cluster(deadline_s=60), shards=2, gpus=1)))
    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert json_format.MessageToDict(message) == spec
    json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for pod in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(pod, KubernetesExecutorConfig())


def written_out(spec: dict[str, Any], platform: dict[str, Any]) -> str:
    """A package with components in the place of their names, so that the names do not count."""
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def contents(name: str) -> Any:
        component = dict(spec["components"][name])
        if "dag" in component:
            return {**component, "dag": filled(component["dag"])}
        label = component.pop("executorLabel")
        return [component, spec["deploymentSpec"]["executors"][label], pods[label]]

    def filled(dag: dict[str, Any]) -> dict[str, Any]:
        tasks = {
            key: {**task, "componentRef": contents(task["componentRef"]["name"])} for key, task in dag["tasks"].items()
        }
        return {**dag, "tasks": tasks}

    return json.dumps(filled(spec["root"]["dag"]), sort_keys=True)


def test_components_without_copies_mean_what_the_compiler_wrote() -> None:
    pipeline = make_pipeline(plan_of(3, 2), GraphSettings(Cluster(), shards=3, gpus=1))
    raw = json_format.MessageToDict(pipeline.pipeline_spec), json_format.MessageToDict(pipeline.platform_spec)
    merged = canonical(pipeline)
    assert written_out(*merged) == written_out(*raw)
    assert len(merged[0]["components"]) < len(raw[0]["components"])


def test_a_study_of_more_runs_and_shards_has_no_more_components() -> None:
    names = {"prepare", "augment", "run", "train", "evaluate", "report", "write-candidate", "finish", "exit-handler"}
    names |= {"resolve", "prepare-test-sets", "champion", "gate", "promote"}
    for recipes, seeds, shards in ((1, 1, 1), (3, 2, 1), (4, 1, 3)):
        spec, platform = canonical(
            make_pipeline(plan_of(recipes, seeds), GraphSettings(Cluster(), shards=shards, gpus=1))
        )
        expected = names | ({"evaluate-shard"} if shards > 1 else set())
        assert set(spec["components"]) == {f"comp-{name}" for name in expected}
        containers = {f"exec-{name}" for name in expected - {"run", "champion", "exit-handler"}}
        assert set(spec["deploymentSpec"]["executors"]) == containers
        assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == containers


def test_components_that_differ_are_kept_apart() -> None:
    from kfp import dsl, kubernetes

    from pipelines import components

    # kfp does not take annotations that are text.
    @dsl.pipeline(name="two")
    def two():  # type: ignore[no-untyped-def]
        for limit in ("1G", "2G", "1G"):
            task = components.prepare(spec="", source="", store="").set_memory_limit(limit)
            kubernetes.set_image_pull_policy(task, "Never")

    spec, _ = canonical(two)
    tasks = spec["root"]["dag"]["tasks"]
    names = [tasks[key]["componentRef"]["name"] for key in ("prepare", "prepare-2", "prepare-3")]
    assert names == ["comp-prepare", "comp-prepare-2", "comp-prepare"]
    limits = [
        spec["deploymentSpec"]["executors"][spec["components"][name]["executorLabel"]]["container"]["resources"]
        for name in names
    ]
    assert [limit["resourceMemoryLimit"] for limit in limits] == ["1G", "2G", "1G"]


def test_an_output_that_would_replace_the_study_is_refused(program: Program, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_bytes((GOLDEN / "study.yaml").read_bytes())
    ended = program("compile", "--study", str(study), "--out", str(study))
    assert ended.returncode == 2
    assert str(study) in ended.stderr
    assert study.read_bytes() == (GOLDEN / "study.yaml").read_bytes()


def test_a_study_that_would_outgrow_a_workflow_is_compiled_with_a_remark(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = f"runs.seed={list(range(60))}"
    out = tmp_path / "nofrost.yaml"
    monkeypatch.chdir(ROOT)
    ended = program("compile", *GOLDEN_OPTIONS, "--set", seeds, "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert out.exists()
    assert all(fact in ended.stderr for fact in ("60 runs of the study at --shards 2", "1 MiB", "--split"))
