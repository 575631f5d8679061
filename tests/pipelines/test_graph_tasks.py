"""Each task of a graph has what it needs and no more: inputs, jobs, devices, pods."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("kfp")

from nofrost.cli.task import task as task_group
from nofrost.cluster.job.pod_settings import PodSettings
from nofrost.cluster.job.settings import load_job_settings
from nofrost.errors import UserError
from nofrost.tasks.ascii_text import from_ascii
from pipelines.cluster_settings import DEFAULTS, Cluster
from pipelines.graph_settings import GraphSettings
from tests.pipelines.compiled_graphs import (
    MANY,
    NOTES,
    ON_GPU,
    compiled,
    part_of_a_study,
    report_of_parts,
)
from tests.pipelines.package_graph import PackageGraph, Source

INPUTS = {
    "prepare": {"spec", "source", "store"},
    "prepare-test-sets": {"spec", "suite_id", "source", "dataset", "store"},
    "augment": {"spec", "dataset", "shards", "store"},
    "augment-shard": {"spec", "dataset", "shard", "store"},
    "train": {"recipe", "recipe_id", "seed", "dataset", "augmentation", "store", "data", "gpus"},
    "launch": {
        *("recipe", "recipe_id", "seed", "dataset", "augmentation", "store", "data"),
        *("gpus", "nodes", "image", "settings"),
    },
    "evaluate": {"suite", "suite_id", "dataset", "test_sets", "checkpoint", "shards", "store", "gpus"},
    "evaluate-shard": {"suite", "suite_id", "dataset", "test_sets", "checkpoint", "shard", "store", "gpus"},
    "gate": {"study", "adversarial", "ood", "champion", "champion_adversarial", "champion_ood", "store"},
    "report": {"study", "dataset", "augmentation", "trained", "adversarial", "ood", "gate", "store"},
}


@pytest.mark.parametrize("devices", [{"gpus": 1}, MANY])
def test_the_cache_key_is_content_configuration_image_and_devices(devices: dict[str, int]) -> None:
    graph = compiled(2, shards=2, **devices)
    for task in graph.tasks():
        kind = graph.kind(task)
        assert "artifacts" not in graph.task(task)["inputs"], "Kubeflow would compare its URI"
        assert "cacheKey" not in graph.task(task)["cachingOptions"]
        assert bool(graph.task(task)["cachingOptions"].get("enableCache")) == (kind not in NOTES)
        if kind not in NOTES:
            given = graph.values(task)
            assert set(given) == INPUTS[kind]
            assert "job_uuid" not in str(given), "the id of a run is in no cached task"
        if kind in ON_GPU:
            assert graph.value(task, "gpus") == 1


def test_the_inputs_of_a_training_are_its_recipe_seed_data_and_devices() -> None:
    graph = compiled(2, shards=2, gpus=1)
    (train,) = [task for task in graph.tasks() if graph.values(task).get("recipe_id") == "st"]
    assert graph.values(train) == {
        "recipe": "recipe of st",
        "recipe_id": "st",
        "seed": "0",
        "dataset": Source(("exit-handler-1", "prepare"), "Output"),
        "augmentation": Source(("exit-handler-1", "augment"), "Output"),
        "store": Source((), "store"),
        "data": "local",
        "gpus": 1,
    }


def launchers(graph: PackageGraph) -> list[tuple[str, ...]]:
    return [task for task in graph.tasks() if graph.kind(task) == "launch"]


@pytest.mark.parametrize(
    ("devices", "backend", "kind"),
    [
        ({}, "auto", "train"),
        ({"gpus": 1}, "auto", "train"),
        ({"gpus": 2}, "auto", "launch"),
        ({"nodes": 2}, "trainjob", "launch"),
        (MANY, "pytorchjob", "launch"),
        ({"gpus": 8}, "none", "train"),
    ],
)
def test_a_training_on_several_gpus_or_nodes_is_launched_as_a_job(
    devices: dict[str, int], backend: str, kind: str
) -> None:
    cluster = Cluster.model_validate({"training_job": {"backend": backend}})
    graph = compiled(2, cluster=cluster, **devices)
    kinds = [graph.kind(task) for task in graph.tasks()]
    assert [kinds.count(each) for each in ("train", "launch")] == [2 * (kind == "train"), 2 * (kind == "launch")]
    trainings = [task for task in graph.tasks() if graph.kind(task) == kind]
    assert [graph.value(task, "gpus") for task in trainings] == [devices.get("gpus", 0)] * 2
    accelerators = [graph.container(task)["resources"].get("accelerator", {}) for task in trainings]
    in_the_pod = str(devices["gpus"]) if kind == "train" and devices else None
    assert [accelerator.get("resourceCount") for accelerator in accelerators] == [in_the_pod] * 2


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"gpus": 65}, "gpus 65 is not possible: give 0 to 64"),
        ({"gpus": -1}, "gpus -1 is not possible"),
        ({"nodes": 0}, "nodes 0 is not possible: give 1 to 1000"),
        ({"nodes": 1001}, "nodes 1001 is not possible"),
    ],
)
def test_numbers_that_no_job_can_have_are_refused(devices: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GraphSettings(Cluster(), **devices)


def test_nodes_without_a_kind_of_job_are_refused() -> None:
    cluster = Cluster.model_validate({"training_job": {"backend": "none"}})
    with pytest.raises(UserError, match=r"nodes 2 need a training job, and training_job\.backend is none"):
        GraphSettings(cluster, nodes=2)


def test_a_launcher_is_a_small_pod_without_gpus_in_the_stage_image() -> None:
    graph = compiled(2, **MANY)
    for task in launchers(graph):
        resources = graph.container(task)["resources"]
        assert "accelerator" not in resources
        assert (resources["resourceCpuLimit"], resources["resourceMemoryLimit"]) == ("500m", "1Gi")
        assert [mount["mountPath"] for mount in graph.pod(task)["emptyDirMounts"]] == ["/tmp"]
        assert not graph.pod(task).get("tolerations"), "it needs no node with GPUs"
        assert graph.value(task, "base_image") == Source((), "stage_image")


def test_a_launcher_is_given_all_that_makes_the_job_and_nothing_of_the_run() -> None:
    graph = compiled(2, **MANY)
    (launch,) = [task for task in launchers(graph) if graph.value(task, "recipe_id") == "st"]
    given = graph.values(launch)
    assert (given["gpus"], given["nodes"], given["image"]) == (8, 2, Source((), "train_image"))
    assert given["recipe"] == "recipe of st"
    assert load_job_settings(given["settings"]) == Cluster().job_settings()


def test_settings_of_a_job_reach_its_launcher_whatever_characters_they_have() -> None:
    env = {"GREETING": "退 {{workflow.name}} 100%", "PATTERN": r"a\b"}
    cluster = Cluster.model_validate({"training_job": {"env": env}})
    graph = compiled(cluster=cluster, **MANY)
    (launch,) = launchers(graph)
    text = graph.value(launch, "settings")
    assert text.isascii()
    assert "\\" not in text
    assert "{{" not in text, "Argo would replace it"
    assert load_job_settings(from_ascii(text)) == cluster.job_settings()


@pytest.mark.parametrize(("devices", "kind"), [({}, "train"), (MANY, "launch")])
def test_a_command_has_an_option_for_each_input_and_takes_all_of_them(devices: dict[str, int], kind: str) -> None:
    graph = compiled(**devices)
    (task,) = [task for task in graph.tasks() if graph.kind(task) == kind]
    container = graph.container(task)
    given = [word for word in container["args"] if word.startswith("--")]
    # A study in which nothing starts from another training leaves that input at its default.
    assert {word[2:].replace("-", "_") for word in given} == {*INPUTS[kind], "start", "output_file"}
    assert container["command"] == ["nofrost", "task", kind]
    command = task_group.commands[kind]
    assert set(given) <= {option for parameter in command.params for option in parameter.opts}


def test_an_evaluation_has_one_gpu_however_many_a_training_has() -> None:
    graph = compiled(shards=2, **MANY)
    evaluations = [task for task in graph.tasks() if graph.kind(task).startswith("evaluate")]
    assert len(evaluations) == 12, "of a run and of the champion"
    for task in evaluations:
        assert graph.value(task, "gpus") == 1
        assert graph.container(task)["resources"]["accelerator"]["resourceCount"] == "1"


def test_the_cache_can_be_turned_off() -> None:
    assert "enableCache" not in str(compiled(caching=False).spec)


def test_every_task_learns_the_id_of_its_run_from_its_pod() -> None:
    for graph in (compiled(gpus=1), compiled(**MANY), part_of_a_study(), report_of_parts()):
        for task in graph.tasks():
            (variable,) = graph.pod(task)["fieldPathAsEnv"]
            assert variable == {"name": "NOFROST_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}


def test_only_training_runs_in_the_training_image() -> None:
    graph = compiled(shards=2)
    for task in graph.tasks():
        image = "train_image" if graph.kind(task) == "train" else "stage_image"
        assert graph.value(task, "base_image") == Source((), image)


@pytest.mark.parametrize("gpus", [0, 1])
def test_exactly_trainings_and_evaluations_have_a_limit_of_gpus_in_their_pods(gpus: int) -> None:
    graph = compiled(2, shards=2, gpus=gpus)
    for task in graph.tasks():
        accelerator = graph.container(task)["resources"].get("accelerator")
        tainted = [each["key"] for each in graph.pod(task).get("tolerations", [])]
        if gpus and graph.kind(task) in ON_GPU:
            assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "1")
            assert tainted == ["nvidia.com/gpu"]
        else:
            assert accelerator is None
            assert not tainted


def test_no_resource_comes_from_a_parameter_that_is_not_text() -> None:
    """Kubeflow's driver takes the text of such a parameter, which a number has not: no limit is set, and no error."""
    graph = compiled(gpus=1, shards=2)
    for task in graph.tasks():
        container = graph.container(task)
        for placeholder in re.findall(r"parameters\['(.+?)'\]", str([container["resources"], container["image"]])):
            outer = graph.value(task, placeholder)
            assert graph.spec["root"]["inputDefinitions"]["parameters"][outer.name]["parameterType"] == "STRING"


def test_every_task_has_limits_retries_credentials_and_writable_folders() -> None:
    graph = compiled(gpus=1)
    for task in graph.tasks():
        resources, pod = graph.container(task)["resources"], graph.pod(task)
        needed = {f"resource{what}{bound}" for what in ("Cpu", "Memory") for bound in ("Request", "Limit")}
        assert needed <= set(resources)
        assert graph.task(task)["retryPolicy"] == {
            "maxRetryCount": 2,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": f"{720 * 3600}s",
        }
        assert pod["secretAsEnv"][0]["optional"]
        assert pod["configMapAsEnv"][0]["optional"]
        mounts = {mount["mountPath"] for mount in pod["emptyDirMounts"]}
        saves = graph.kind(task) in ON_GPU
        assert mounts == ({"/tmp", "/dev/shm"} if saves else {"/tmp"})
        variables = {each["name"]: each["value"] for each in graph.container(task).get("env", ())}
        assert variables == ({"NOFROST_METRICS_PORT": "8081", "NOFROST_SAVE_INTERVAL_S": "300"} if saves else {})
        assert pod["podMetadata"]["labels"]["app.kubernetes.io/name"] == "nofrost"
        assert pod["securityContext"] == {"runAsUser": "1000", "runAsGroup": "1000", "runAsNonRoot": True}


def test_kfp_2_15_gets_no_security_context() -> None:
    graph = compiled(cluster=Cluster(run_as=None), gpus=1)
    assert "securityContext" not in str(graph.platform)


def test_the_settings_of_the_cluster_are_applied() -> None:
    cluster = Cluster.model_validate(
        {
            "resources": {"train": {"cpu": "16", "memory": "64Gi"}},
            "gpu": {"node_selector": {"gpu": "h100"}},
            "placement": {"tolerations": [{"key": "batch", "effect": "NoSchedule"}]},
            "credentials": {"secret": None, "config_map": "endpoint"},
            "deadline_s": 3600,
            "retries": {"count": 0},
            "run_as": 7,
            "save_interval_s": 60,
        }
    )
    graph = compiled(cluster=cluster, gpus=1)
    (train,) = [task for task in graph.tasks() if graph.kind(task) == "train"]
    (prepare,) = [task for task in graph.tasks() if graph.kind(task) == "prepare"]
    assert graph.container(train)["resources"]["resourceMemoryLimit"] == "64Gi"
    assert {"name": "NOFROST_SAVE_INTERVAL_S", "value": "60"} in graph.container(train)["env"]
    assert graph.pod(train)["nodeSelector"]["labels"] == {"gpu": "h100"}
    assert "nodeSelector" not in graph.pod(prepare)
    assert [each["key"] for each in graph.pod(train)["tolerations"]] == ["batch", "nvidia.com/gpu"]
    for pod in graph.pods.values():
        assert pod["tolerations"][0]["key"] == "batch"
        assert pod["securityContext"]["runAsUser"] == "7"
        assert "secretAsEnv" not in pod
        assert pod["configMapAsEnv"][0]["configMapName"] == "endpoint"
    assert "retryPolicy" not in str(graph.spec)
    assert graph.platform["platforms"]["kubernetes"]["pipelineConfig"]["activeDeadlineSeconds"] == 3600


def test_a_job_gets_the_settings_of_training_pods_and_of_jobs() -> None:
    cluster = Cluster.model_validate(
        {
            "resources": {"train": {"cpu": "16", "memory": "64Gi"}, "evaluate": {"cpu": "1"}},
            "placement": {"tolerations": [{"key": "batch", "effect": "NoSchedule"}]},
            "gpu": {"node_selector": {"gpu": "h100"}},
            "shared_memory": "8Gi",
            "credentials": {"secret": None},
            "run_as": 7,
            "save_interval_s": 60,
            "image_pull_policy": "Always",
            "deadline_s": 3600,
            "training_job": {"queue": "gpus", "deadline_s": 7200},
        }
    )
    settings = cluster.job_settings()
    assert (settings.resources.cpu, settings.resources.memory) == ("16", "64Gi")
    for name in PodSettings.model_fields:
        assert getattr(settings, name) == getattr(cluster, name), name
    assert (settings.queue, settings.deadline_s) == ("gpus", 7200), "the limit of the run is another one"
    assert Cluster().job_settings().resources == DEFAULTS["train"]
