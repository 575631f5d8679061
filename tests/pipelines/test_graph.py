"""The compiled pipeline: its graph is that of dvc.yaml, it compiles to the same bytes, and avoids known bugs of kfp."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "nofrost.yaml"
NOTES = {"plan", "plan-runs", "plan-shards", "write-candidate", "finish"}  # tasks of the pipeline that are not stages
ATTRIBUTES_OF_KFP = {"name", "full_name", "task_name", "pattern"}  # as keys of loop items they do not return the item
Task = tuple[str, ...]  # the path to a task from the root, dag by dag


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline for the default cluster, compiled by the command."""
    return compile_to(tmp_path_factory.mktemp("compiled") / "nofrost.yaml")


def compile_to(path: Path, *arguments: str, hash_seed: str = "0") -> Path:
    command = [sys.executable, "-m", "pipelines", "compile", "--out", str(path), *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONWARNINGS": "error"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return path


class Graph:
    """The tasks of a compiled pipeline, and the tasks whose outputs each one reads."""

    def __init__(self, package: Path) -> None:
        self.spec, self.platform = yaml.safe_load_all(package.read_text(encoding="utf-8"))
        self.components = self.spec["components"]

    def dag(self, path: Task) -> dict[str, Any]:
        """The dag at a path; () is the root."""
        dag: dict[str, Any] = self.spec["root"]["dag"]
        for name in path:
            dag = self.component(dag["tasks"][name])["dag"]
        return dag

    def component(self, task: dict[str, Any]) -> dict[str, Any]:
        component: dict[str, Any] = self.components[task["componentRef"]["name"]]
        return component

    def tasks(self, path: Task = ()) -> Iterator[Task]:
        """Every task that runs a container."""
        for name, task in self.dag(path)["tasks"].items():
            if "dag" in self.component(task):
                yield from self.tasks((*path, name))
            else:
                yield (*path, name)

    def spec_of(self, task: Task) -> dict[str, Any]:
        spec: dict[str, Any] = self.dag(task[:-1])["tasks"][task[-1]]
        return spec

    def stage(self, task: Task) -> str:
        """The stage that a task belongs to: shards, merging and the same on another node are one stage."""
        name = re.sub(r"(-\d+)?$", "", self.label(task).removeprefix("exec-"))
        return next((dag for dag in task[:-1] if dag.startswith("evaluate-")), name)

    def label(self, task: Task) -> str:
        """The name of the executor of a task."""
        label: str = self.component(self.spec_of(task))["executorLabel"]
        return label

    def sources(self, task: Task) -> set[Task]:
        """The tasks whose outputs this one reads, through all the dags in between."""
        values = self.spec_of(task).get("inputs", {}).get("parameters", {}).values()
        return {source for value in values for source in self._producers(task[:-1], value)}

    def _producers(self, path: Task, value: dict[str, Any]) -> Iterator[Task]:
        if "taskOutputParameter" in value:
            output = value["taskOutputParameter"]
            yield from self._inside((*path, output["producerTask"]), output["outputParameterKey"])
        elif "componentInputParameter" in value and path:
            argument = self.spec_of(path)["inputs"]["parameters"].get(value["componentInputParameter"])
            if argument is not None:
                yield from self._producers(path[:-1], argument)
            else:  # the item of a loop comes from its items
                items = self.spec_of(path)["parameterIterator"]["items"]["inputParameter"]
                yield from self._producers(path[:-1], self.spec_of(path)["inputs"]["parameters"][items])

    def _inside(self, task: Task, output: str) -> Iterator[Task]:
        component = self.component(self.spec_of(task))
        if "dag" not in component:
            yield task
            return
        parameter = component["dag"]["outputs"]["parameters"][output]
        alternatives = parameter.get("valueFromOneof", {}).get("parameterSelectors") or [
            parameter["valueFromParameter"]
        ]
        for each in alternatives:
            yield from self._inside((*task, each["producerSubtask"]), each["outputParameterKey"])

    def parameter(self, task: Task, name: str) -> str | None:
        """The parameter of the pipeline that input `name` of a task comes from; None when it comes from elsewhere."""
        value = self.spec_of(task)["inputs"]["parameters"][name]
        placeholder = re.fullmatch(
            r"{{\$\.inputs\.parameters\['(.+)'\]}}", str(value.get("runtimeValue", {}).get("constant", ""))
        )
        if placeholder:
            return self.parameter(task, placeholder[1])
        if "componentInputParameter" not in value:
            return None
        outer: str = value["componentInputParameter"]
        return outer if len(task) == 1 else self.parameter(task[:-1], outer)


def edges_of_dvc() -> set[tuple[str, str]]:
    """Pairs of stages of dvc.yaml of which the second reads an output of the first."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = {name: out for name, stage in stages.items() for out in stage["outs"]}
    return {
        (maker, name)
        for name, stage in stages.items()
        for dep in stage["deps"]
        for maker, out in outs.items()
        if maker != name and (out == dep or out.startswith(f"{dep}/"))
    }


def test_the_graph_is_that_of_dvc_edge_by_edge(compiled: Path) -> None:
    graph = Graph(compiled)
    edges = {(graph.stage(source), graph.stage(task)) for task in graph.tasks() for source in graph.sources(task)}
    between_stages = {(one, other) for one, other in edges if one != other and not {one, other} & NOTES}
    assert between_stages == edges_of_dvc()


def test_every_stage_of_dvc_is_a_task_and_every_task_a_stage_or_a_note(compiled: Path) -> None:
    graph = Graph(compiled)
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert {graph.stage(task) for task in graph.tasks()} == set(stages) | NOTES


def test_the_compiled_pipeline_is_the_golden_file(compiled: Path) -> None:
    message = "the compiled pipeline changed: `python -m pipelines compile --out tests/pipelines/golden/nofrost.yaml`"
    assert compiled.read_text(encoding="utf-8") == GOLDEN.read_text(encoding="utf-8"), message


def test_compiling_again_gives_the_same_bytes(compiled: Path, tmp_path: Path) -> None:
    for seed in ("7", "11"):
        assert compile_to(tmp_path / "again.yaml", hash_seed=seed).read_bytes() == compiled.read_bytes()


def test_no_key_of_a_loop_item_is_an_attribute_of_kfp(compiled: Path) -> None:
    selectors = re.findall(r'parseJson\(string_value\)\["([^"]+)"\]', compiled.read_text(encoding="utf-8"))
    assert {"recipe", "recipe_id", "seed"} <= set(selectors)
    assert not set(selectors) & ATTRIBUTES_OF_KFP


def test_loop_items_hold_text_only() -> None:
    """Kubeflow turns integers in them into floats."""
    from nofrost import tasks

    items = tasks.plan_runs("digits")
    assert items
    assert all(isinstance(value, str) for item in items for value in item.values())
    assert not {key for item in items for key in item} & ATTRIBUTES_OF_KFP
    assert all(isinstance(shard, str) for shard in tasks.plan_shards(3))


def test_loops_have_no_input_from_a_task_in_the_same_dag(compiled: Path) -> None:
    """kfp.local silently replaces every such input by the item of the loop."""
    graph = Graph(compiled)
    dags = [graph.spec["root"]["dag"], *(each["dag"] for each in graph.components.values() if "dag" in each)]
    loops = [task for dag in dags for task in dag["tasks"].values() if "parameterIterator" in task]
    assert len(loops) == 3
    for loop in loops:
        assert all("taskOutputParameter" not in value for value in loop["inputs"]["parameters"].values())


def test_conditions_compare_truth_values_only(compiled: Path) -> None:
    """kfp.local takes a comparison of text that it cannot parse for false, and continues."""
    graph = Graph(compiled)
    dags = [each["dag"] for each in graph.components.values() if "dag" in each]
    policies = [task.get("triggerPolicy", {}) for dag in dags for task in dag["tasks"].values()]
    conditions = [policy["condition"] for policy in policies if "condition" in policy]
    assert conditions
    assert all("== true" in condition for condition in conditions), conditions
    tested = {name for condition in conditions for name in re.findall(r"parameter_values\['([^']+)'\]", condition)}
    for component in graph.components.values():
        for name, parameter in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name in tested:
                assert parameter["parameterType"] == "BOOLEAN"


def test_the_cache_key_is_content_configuration_and_image(compiled: Path) -> None:
    """No task has an artifact as input, whose URI Kubeflow would compare; every one has its image as a parameter."""
    graph = Graph(compiled)
    for task in graph.tasks():
        spec = graph.spec_of(task)
        assert "artifacts" not in spec.get("inputs", {})
        named = spec["inputs"]["parameters"]
        assert any(name.endswith("image") for name in named), task
        cached = bool(spec.get("cachingOptions", {}).get("enableCache"))
        assert cached == (graph.stage(task) not in {"write-candidate", "finish"}), task
        assert "cacheKey" not in spec.get("cachingOptions", {}), "one key for all turns of a loop"


def test_no_cached_task_has_the_run_id(compiled: Path) -> None:
    graph = Graph(compiled)
    told = {graph.stage(task) for task in graph.tasks() if "job_uuid" in str(graph.spec_of(task))}
    assert told == {"write-candidate", "finish"}


def test_the_cache_can_be_turned_off(tmp_path: Path) -> None:
    graph = Graph(compile_to(tmp_path / "uncached.yaml", "--no-cache"))
    assert not any(graph.spec_of(task).get("cachingOptions", {}).get("enableCache") for task in graph.tasks())


def test_only_training_runs_in_the_training_image(compiled: Path) -> None:
    graph = Graph(compiled)
    for task in graph.tasks():
        assert graph.parameter(task, "base_image") == ("train_image" if graph.stage(task) == "train" else "stage_image")


def test_the_number_of_gpus_is_the_parameter_of_the_pipeline(compiled: Path) -> None:
    graph = Graph(compiled)
    counts = [
        graph.parameter(task, "accelerator_count")
        for task in graph.tasks()
        if "accelerator_count" in graph.spec_of(task)["inputs"]["parameters"]
    ]
    assert counts == ["gpus"] * 5


def test_only_the_gpu_branch_requests_gpus(compiled: Path) -> None:
    graph = Graph(compiled)
    executors = graph.spec["deploymentSpec"]["executors"]
    kubernetes = graph.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    asked = set()
    for task in graph.tasks():
        label = graph.label(task)
        if "accelerator" in executors[label]["container"].get("resources", {}):
            asked.add(graph.stage(task))
            assert any(taint.get("key") == "nvidia.com/gpu" for taint in kubernetes[label]["tolerations"])
        else:
            assert "tolerations" not in kubernetes[label]
    assert asked == {"train", "evaluate-adversarial", "evaluate-ood"}


def test_every_task_has_limits_retries_credentials_and_a_writable_folder(compiled: Path) -> None:
    graph = Graph(compiled)
    executors = graph.spec["deploymentSpec"]["executors"]
    kubernetes = graph.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in graph.tasks():
        label = graph.label(task)
        resources, pod = executors[label]["container"]["resources"], kubernetes[label]
        assert {"resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest"} <= set(
            resources
        )
        assert graph.spec_of(task)["retryPolicy"]["maxRetryCount"] == 2
        assert pod["secretAsEnv"][0]["optional"]
        assert pod["configMapAsEnv"][0]["optional"]
        mounts = {mount["mountPath"] for mount in pod["emptyDirMounts"]}
        works = graph.stage(task) in {"train", "evaluate-adversarial", "evaluate-ood"}
        assert mounts == ({"/tmp", "/dev/shm"} if works else {"/tmp"})
        assert pod["securityContext"]["runAsNonRoot"]


def test_the_settings_of_a_cluster_file_are_applied(tmp_path: Path) -> None:
    described = {
        "resources": {"train": {"cpu": "16", "memory": "64Gi"}},
        "gpu": {"node_selector": {"gpu": "h100"}},
        "placement": {"tolerations": [{"key": "batch", "effect": "NoSchedule"}]},
        "credentials": {"secret": None, "config_map": "endpoint"},
        "parallel_runs": 3,
        "deadline_s": 3600,
        "retries": {"count": 0},
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(described))
    package = compile_to(tmp_path / "out.yaml", "--cluster", str(tmp_path / "cluster.yaml"))
    graph = Graph(package)
    pods = graph.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    trained = [graph.label(task) for task in graph.tasks() if graph.stage(task) == "train"]
    containers = [graph.spec["deploymentSpec"]["executors"][label]["container"]["resources"] for label in trained]
    assert [resources["resourceMemoryLimit"] for resources in containers] == ["64Gi", "64Gi"]
    assert ["accelerator" in resources for resources in containers] == [True, False]
    assert pods[trained[0]]["nodeSelector"]["labels"] == {"gpu": "h100"}
    assert "nodeSelector" not in pods[trained[1]]
    assert all(pod["tolerations"][0]["key"] == "batch" for pod in pods.values())
    assert all("secretAsEnv" not in pod for pod in pods.values())
    text = package.read_text(encoding="utf-8")
    assert "parallelismLimit: 3" in text
    assert "retryPolicy" not in text
    assert "activeDeadlineSeconds: 3600" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resources: {trian: {cpu: '1'}}", "resources.trian"),
        ("resources: {train: {cpu: lots}}", "resources.train.cpu"),
        ("retry: 3", "unknown key 'retry'"),
        ("shared_memory: 5", "shared_memory"),
        ("[1]", "holds no keys"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_wrong_cluster_file_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    from nofrost.errors import UserError
    from pipelines.cluster import load_cluster

    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        load_cluster(tmp_path / "cluster.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_compiled_for_a_wrong_cluster_file(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("retry: 3")
    command = [sys.executable, "-m", "pipelines", "compile", "--cluster", str(tmp_path / "cluster.yaml")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("nofrost: ")
    assert "unknown key 'retry'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (ROOT / "nofrost.yaml").exists()
