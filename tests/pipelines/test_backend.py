"""A study on KFP backends of two versions: cold, from the cache, with a failure, again, on GPUs, and in parts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp.dsl.base_component import BaseComponent

from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import load_job_settings
from nofrost.cluster.job.spec import JobSpec, Training
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.config import load_study
from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical, write_package
from pipelines.study_plan import StudyPlan, plan_study
from tests.pipelines.backend import VERSIONS, Backend, ContainerError, Ended, Pod, RefusedError
from tests.pipelines.backend_state import Json

SHARDS = 2
NEVER_CACHED = {"resolve", "write-candidate", "promote", "record-outputs", "finish"}
NOTES = {"resolve": 1, "write-candidate": 1, "promote": 1, "finish": 1}
OF_CHAMPION = {"evaluate-shard": 2 * SHARDS, "evaluate": 2}
STAGE_IMAGE, TRAIN_IMAGE = "stage@sha256:1", "train@sha256:2"
ARGUMENTS = {"store": "s3://bucket/nofrost", "stage_image": STAGE_IMAGE, "train_image": TRAIN_IMAGE, "data_ref": ""}
BY_DIGEST = {**ARGUMENTS, "train_image": f"registry/nofrost-train@sha256:{'2' * 64}"}  # as jobs want it
WITHOUT_USER = Cluster(run_as=None)  # the only one that KFP 2.15 accepts


def make_plan(*overrides: str) -> StudyPlan:
    """The plan of two recipes with two seeds."""
    chosen = ("runs.recipe=[st, sat]", "runs.seed=[0, 1]", *overrides)
    return plan_study(load_study("digits", chosen), 0, 1)


def write(path: Path, pipeline: BaseComponent) -> None:
    write_package(path, canonical(pipeline))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That study in two shards, on CPUs."""
    path = tmp_path_factory.mktemp("package") / "nofrost.yaml"
    write(path, make_pipeline(make_plan(), GraphSettings(WITHOUT_USER, shards=SHARDS)))
    return path


def by_content(pod: Pod) -> dict[str, Any]:
    """A container whose output is named after the content of its inputs, as a ref is."""
    assert all("{{" not in str(value) for value in pod.inputs.values()), f"a placeholder is left: {pod.inputs}"
    meaning = {name: value for name, value in pod.inputs.items() if not name.startswith("pipelinechannel--")}
    content = md5(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
    if pod.component == "resolve":
        return {"source": pod.inputs["data_ref"], "champion": "the champion", "checkpoint": "champion/train@1"}
    return dict.fromkeys(pod.outputs, f"{pod.component}@{content}")


def failing(recipe_id: str, seed: str) -> Callable[[Pod], dict[str, Any]]:
    """Containers of which one training ends with an error."""

    def containers(pod: Pod) -> dict[str, Any]:
        if pod.component == "train" and (pod.inputs["recipe_id"], pod.inputs["seed"]) == (recipe_id, seed):
            raise ContainerError("exit code 1")
        return by_content(pod)

    return containers


def counts(ended: Ended) -> dict[str, int]:
    return dict(Counter(pod.component for pod in ended.pods))


def sums(*counted: dict[str, int]) -> dict[str, int]:
    """Counts of pods added up."""
    return dict(sum(map(Counter, counted), Counter()))


def of_each_run(number: int) -> dict[str, int]:
    """The pods of so many runs."""
    return {"train": number, "evaluate-shard": number * 2 * SHARDS, "evaluate": number * 2}


def refs_of(ended: Ended, component: str) -> list[str]:
    return [next(iter(by_content(pod).values())) for pod in ended.ran(component)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_cold_run_runs_every_task_once_and_reports_on_all_runs_in_order(version: str, package: Path) -> None:
    ended = Backend(package, version).run(ARGUMENTS, by_content)
    assert (ended.state, ended.errors, ended.cached) == ("Succeeded", [], [])
    once = {"prepare": 1, "prepare-test-sets": 1, "augment": 1, "gate": 1, "report": 1}
    assert counts(ended) == sums(NOTES, once, OF_CHAMPION, of_each_run(4))
    runs = [(pod.inputs["recipe_id"], pod.inputs["seed"]) for pod in ended.ran("train")]
    assert runs == [("st", "0"), ("st", "1"), ("sat", "0"), ("sat", "1")]
    merges = [pod for pod in ended.ran("evaluate") if pod.inputs["checkpoint"] in refs_of(ended, "train")]
    for pod in (*ended.ran("report"), *ended.ran("write-candidate")):
        assert pod.inputs["trained"] == refs_of(ended, "train")
        for kind in ("adversarial", "ood"):
            of_kind = [merge for merge in merges if json.loads(merge.inputs["suite"])["kind"] == kind]
            assert [merge.inputs["checkpoint"] for merge in of_kind] == refs_of(ended, "train")
            assert pod.inputs[kind] == [next(iter(by_content(merge).values())) for merge in of_kind]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_merge_gets_the_shards_of_its_own_evaluation_in_order(version: str, package: Path) -> None:
    ended = Backend(package, version).run(ARGUMENTS, by_content)
    shards = {next(iter(by_content(pod).values())): pod for pod in ended.ran("evaluate-shard")}
    for merge in ended.ran("evaluate"):
        merged = [shards[ref] for ref in merge.inputs["shards"]]
        assert [pod.inputs["shard"] for pod in merged] == ["0/2", "1/2"]
        for name in ("suite", "dataset", "checkpoint"):
            assert {pod.inputs[name] for pod in merged} == {merge.inputs[name]}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_run_again_comes_from_the_cache(version: str, package: Path) -> None:
    server = Backend(package, version)
    first = server.run(ARGUMENTS, by_content)
    again = server.run(ARGUMENTS, by_content, run="run-2")
    assert (again.state, again.errors) == ("Succeeded", [])
    assert counts(again) == NOTES
    assert again.ran("write-candidate")[0].inputs == {**first.ran("write-candidate")[0].inputs, "run": "run-2"}


@pytest.mark.parametrize(("version", "told"), [("2.15", "RUNNING"), ("2.17", "FAILED")])
def test_a_training_that_fails_stops_nothing_but_its_own_run(version: str, told: str, package: Path) -> None:
    server = Backend(package, version)
    failed = server.run(ARGUMENTS, failing("sat", "0"))
    assert failed.state == "Failed"
    assert len(failed.errors) == 1
    # The training that failed ran too.
    once = {"resolve": 1, "prepare": 1, "prepare-test-sets": 1, "augment": 1, "finish": 1}
    assert counts(failed) == {**sums(once, OF_CHAMPION, of_each_run(3)), "train": 4}
    assert failed.pods[-1].component == "finish"
    # Why `finish` looks for the candidate in the store: what Kubeflow says of the end depends on its version.
    assert failed.pods[-1].inputs["status"]["state"] == told

    again = server.run(ARGUMENTS, by_content)
    assert again.state == "Succeeded"
    assert counts(again) == {"gate": 1, "report": 1, **NOTES, **of_each_run(1)}
    trained = again.ran("train")[0].inputs
    assert (trained["recipe_id"], trained["seed"]) == ("sat", "0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("gpus", [0, 1])
def test_each_task_that_asks_for_a_gpu_has_it_in_its_pod(version: str, gpus: int, tmp_path: Path) -> None:
    write(
        tmp_path / "gpu.yaml",
        make_pipeline(make_plan(), GraphSettings(WITHOUT_USER, shards=SHARDS, gpus=gpus)),
    )
    ended = Backend(tmp_path / "gpu.yaml", version).run(ARGUMENTS, by_content)
    assert ended.state == "Succeeded"
    for pod in ended.pods:
        works = pod.component in of_each_run(1)
        assert pod.limits == ({"nvidia.com/gpu": "1"} if works and gpus else {}), pod.path
        assert pod.inputs.get("gpus", gpus) == gpus


def described(pod: Pod, kind: str) -> Json:
    """The job that the launcher of a pod makes."""
    names = ("recipe", "recipe_id", "seed", "dataset", "augmentation", "store")
    training = Training(**{name: pod.inputs[name] for name in names})
    settings = load_job_settings(pod.inputs["settings"])
    devices = {"gpus": int(pod.inputs["gpus"]), "nodes": int(pod.inputs["nodes"])}
    spec = JobSpec(training, pod.inputs["image"], **devices, settings=settings, namespace="team-a")
    return as_pytorchjob(spec) if kind == "pytorchjob" else as_trainjob(spec)


def nodes_of(job: Json) -> list[Json]:
    """The container of each node of a job, with its image and resources."""
    if job["kind"] == "TrainJob":
        trainer = job["spec"]["trainer"]
        return [{**trainer, "resources": trainer["resourcesPerNode"]}] * trainer["numNodes"]
    replicas = job["spec"]["pytorchReplicaSpecs"].values()
    pods = [replica["template"]["spec"] for replica in replicas for _ in range(replica["replicas"])]
    return [pod["containers"][0] for pod in pods]


@pytest.fixture(scope="module")
def on_nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That study, trained on two nodes with eight GPUs each."""
    path = tmp_path_factory.mktemp("package") / "nodes.yaml"
    settings = GraphSettings(WITHOUT_USER, shards=SHARDS, gpus=8, nodes=2)
    write(path, make_pipeline(make_plan(), settings))
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_training_on_nodes_has_its_gpus_in_the_job_and_none_in_the_pod_that_launches_it(
    version: str, on_nodes: Path
) -> None:
    ended = Backend(on_nodes, version).run(BY_DIGEST, by_content)
    assert ended.state == "Succeeded"
    assert not ended.ran("train")
    for pod in ended.pods:
        assert pod.limits == ({"nvidia.com/gpu": "1"} if pod.component.startswith("evaluate") else {}), pod.path
        assert pod.image == STAGE_IMAGE
    launched = ended.ran("launch")
    assert len(launched) == 4
    for kind in ("pytorchjob", "trainjob"):
        jobs = [described(pod, kind) for pod in launched]
        assert len({job["metadata"]["name"] for job in jobs}) == 4
        for job in jobs:
            assert len(nodes_of(job)) == 2
            for node in nodes_of(job):
                assert node["image"] == BY_DIGEST["train_image"]
                expected = {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "8"}
                assert (node["resources"]["requests"], node["resources"]["limits"]) == (expected, expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_job_is_launched_once_for_all_runs_of_the_pipeline(version: str, on_nodes: Path) -> None:
    server = Backend(on_nodes, version)
    server.run(BY_DIGEST, by_content)
    assert counts(server.run(BY_DIGEST, by_content, run="run-2")) == NOTES


@pytest.mark.parametrize(
    "changed", [{"gpus": 4}, {"nodes": 4}, {"cluster": Cluster.model_validate({"training_job": {"queue": "gpus"}})}]
)
def test_a_job_with_other_devices_or_settings_is_another_one(changed: dict[str, Any], tmp_path: Path) -> None:
    plan, settings = make_plan("runs.recipe=[st]", "runs.seed=[0]"), GraphSettings(Cluster(), gpus=8, nodes=2)
    cache: dict[str, Any] = {}
    launched = []
    for name, each in (("one", settings), ("other", replace(settings, **changed))):
        write(tmp_path / f"{name}.yaml", make_pipeline(plan, each))
        launched += Backend(tmp_path / f"{name}.yaml", "2.17", cache).run(BY_DIGEST, by_content).ran("launch")
    assert len({described(pod, "pytorchjob")["metadata"]["name"] for pod in launched}) == 2


def test_no_resource_of_the_package_is_a_parameter_that_is_not_text(tmp_path: Path) -> None:
    write(tmp_path / "gpu.yaml", make_pipeline(make_plan(), GraphSettings(Cluster(), shards=SHARDS, gpus=1)))
    spec, _ = yaml.safe_load_all((tmp_path / "gpu.yaml").read_text(encoding="utf-8"))
    resources = [each["container"]["resources"] for each in spec["deploymentSpec"]["executors"].values()]
    assert sum("accelerator" in each for each in resources) == len(of_each_run(1))
    assert "{{" not in json.dumps(resources)


@pytest.mark.parametrize("version", VERSIONS)
def test_training_alone_runs_in_the_training_image(version: str, package: Path) -> None:
    for pod in Backend(package, version).run(ARGUMENTS, by_content).pods:
        assert pod.image == (TRAIN_IMAGE if pod.component == "train" else STAGE_IMAGE)


@pytest.mark.parametrize("changed", ["runs.seed=[0, 1, 2]", "recipes.sat.optimiser.lr=0.07", "suites.ood.quick.seed=1"])
def test_a_changed_study_runs_only_what_changed(changed: str, package: Path, tmp_path: Path) -> None:
    server = Backend(package, "2.17")
    server.run(ARGUMENTS, by_content)
    write(tmp_path / "changed.yaml", make_pipeline(make_plan(changed), GraphSettings(WITHOUT_USER, shards=SHARDS)))
    ended = Backend(tmp_path / "changed.yaml", "2.17", server.cache).run(ARGUMENTS, by_content)
    assert ended.state == "Succeeded"
    ran = {name: number for name, number in counts(ended).items() if name in of_each_run(1)}
    assert ran == {"suites.ood.quick.seed=1": {"evaluate-shard": 5 * SHARDS, "evaluate": 5}}.get(
        changed, of_each_run(2)
    )


def test_another_image_runs_everything_again(package: Path) -> None:
    server = Backend(package, "2.17")
    server.run(ARGUMENTS, by_content)
    assert server.run({**ARGUMENTS, "train_image": "train@sha256:3"}, by_content).ran("train")
    everything = server.run({**ARGUMENTS, "stage_image": "stage@sha256:3"}, by_content)
    assert {"prepare", "augment", "evaluate-shard", "evaluate", "report"} <= set(counts(everything))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_study_in_parts_ends_with_the_report_of_the_whole(version: str, package: Path, tmp_path: Path) -> None:
    plan, whole = make_plan(), Backend(package, version).run(ARGUMENTS, by_content)
    cache: dict[str, Any] = {}
    outputs: dict[str, Any] = {"trained": [], "adversarial": [], "ood": []}
    for number, runs in enumerate((plan.runs[:3], plan.runs[3:])):
        path = tmp_path / f"part-{number}.yaml"
        write(path, make_part_pipeline(replace(plan, runs=runs), GraphSettings(WITHOUT_USER, shards=SHARDS)))
        part = Backend(path, version, cache).run(ARGUMENTS, by_content, run=f"run-{number}")
        assert part.state == "Succeeded"
        first = {"prepare": 1, "prepare-test-sets": 1, "augment": 1} if number == 0 else {}
        assert counts(part) == {**first, **of_each_run(len(runs)), "record-outputs": 1, "finish": 1}
        recorded = part.ran("record-outputs")[0].inputs
        assert recorded["run"] == f"run-{number}"
        for stage in ("trained", "adversarial", "ood"):
            outputs[stage] += recorded[stage]
        outputs |= {name: recorded[name] for name in ("dataset", "test_sets", "augmentation")}
    write(tmp_path / "report.yaml", make_report_pipeline(plan, outputs, GraphSettings(WITHOUT_USER, shards=SHARDS)))
    arguments = {name: value for name, value in ARGUMENTS.items() if name != "train_image"}
    report = Backend(tmp_path / "report.yaml", version, cache).run(arguments, by_content)
    assert (report.state, counts(report)) == ("Succeeded", {**OF_CHAMPION, "gate": 1, "report": 1, **NOTES})
    for component in ("report", "write-candidate"):
        ours, theirs = (
            {name: value for name, value in ended.ran(component)[0].inputs.items() if "--" not in name}
            for ended in (report, whole)
        )
        assert ours == theirs
    # A study that was made in parts is in the cache for all of it as well.
    again = Backend(package, version, cache).run(ARGUMENTS, by_content)
    assert counts(again).keys() <= {"gate", "report", *NEVER_CACHED}


def test_one_shard_is_one_task_without_merge(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", make_pipeline(make_plan(), GraphSettings(WITHOUT_USER)))
    ended = Backend(tmp_path / "one.yaml", "2.17").run(ARGUMENTS, by_content)
    assert ended.state == "Succeeded"
    assert counts(ended)["evaluate"] == 2 * 4 + 2
    assert "evaluate-shard" not in counts(ended)
    assert all(pod.inputs["shards"] == [] for pod in ended.ran("evaluate"))


def test_kfp_2_15_accepts_a_package_without_a_user_and_no_other(tmp_path: Path, package: Path) -> None:
    assert Backend(package, "2.15").run(ARGUMENTS, by_content).state == "Succeeded"
    write(tmp_path / "user.yaml", make_pipeline(make_plan(), GraphSettings(Cluster())))
    with pytest.raises(RefusedError, match="securityContext"):
        Backend(tmp_path / "user.yaml", "2.15").run(ARGUMENTS, by_content)
    assert Backend(tmp_path / "user.yaml", "2.16").run(ARGUMENTS, by_content).state == "Succeeded"


def test_the_package_has_nothing_that_a_backend_handles_wrongly(package: Path) -> None:
    """No loop, condition, choice or collection, whose states and lookups differ from version to version."""
    text = package.read_text(encoding="utf-8")
    assert not re.findall(r"parameterIterator|valueFromOneof|condition:|for-loop|pipelinechannel--.*-loop-item", text)
