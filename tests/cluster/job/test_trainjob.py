"""What a TrainJob says, and that its pods are those of a PyTorchJob."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.spec import JobSpec
from nofrost.cluster.job.training_runtime import training_runtime
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.errors import UserError
from tests.cluster.job.jobs import IMAGE, job
from tests.cluster.job.pod_security import problems

Json = dict[str, Any]


def patched(value: Any, patch: Any) -> Any:
    """Return a value with a patch on top: objects key by key, lists of named items item by item, others replaced."""
    if isinstance(value, dict) and isinstance(patch, dict):
        return {key: patched(value[key], patch[key]) if key in value else patch[key] for key in patch} | {
            key: item for key, item in value.items() if key not in patch
        }
    if isinstance(value, list) and isinstance(patch, list) and all("name" in item for item in (*value, *patch)):
        return list(patched({each["name"]: each for each in value}, {each["name"]: each for each in patch}).values())
    return patch


def template_of_pods(spec: JobSpec) -> Json:
    """Return the template that Kubeflow Trainer makes of the runtime, the patches and the trainer of a TrainJob."""
    value = as_trainjob(spec)["spec"]
    runtime = copy.deepcopy(training_runtime(spec.settings)["spec"]["template"])
    for patch in value["runtimePatches"]:
        runtime = patched(runtime, patch["trainingRuntimeSpec"]["template"])
    template: Json = runtime["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    trainer = value["trainer"]
    container |= {"image": trainer["image"], "args": trainer["args"], "env": trainer["env"]}
    container["resources"] = trainer["resourcesPerNode"]
    return template


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"shared_memory": "64Gi", "run_as": None, "resources": {"cpu": "16", "memory": "64Gi"}},
        {"placement": {"node_selector": {"zone": "a"}, "tolerations": [{"key": "a"}]}, "queue": "team-a"},
        {"service_account": "trainer", "pull_secrets": ["a", "b"], "env": {"NCCL_DEBUG": "INFO"}, "gpus": 0},
        {"gang": {"scheduler": "volcano"}, "priority_class": "high", "image_pull_policy": "Always"},
        {"gang": {"scheduler": "scheduler-plugins", "scheduler_name": "mine"}, "run_as": 7, "run": ""},
    ],
)
def test_its_pods_are_those_of_a_pytorchjob(values: dict[str, Any]) -> None:
    ours = template_of_pods(job(**values))
    theirs = as_pytorchjob(job(**values))["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    # What the operators ask for.
    variables = theirs["spec"]["containers"][0]["env"]
    variables[:] = [each for each in variables if each["name"] != "NOFROST_FAILURE_CODE"]
    assert ours["spec"].pop("restartPolicy") == "Never"
    assert (ours["spec"]["containers"][0].pop("name"), theirs["spec"]["containers"][0].pop("name")) == (
        "node",
        "pytorch",
    )
    assert ours == theirs
    assert problems({**ours["spec"], "containers": [{"name": "node", **ours["spec"]["containers"][0]}]}) == []


@pytest.mark.parametrize(("gpus", "processes"), [(0, 1), (1, 1), (8, 8)])
def test_it_asks_for_nodes_and_processes(gpus: int, processes: int) -> None:
    trainer = as_trainjob(job(gpus=gpus, nodes=4))["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["image"]) == (4, processes, IMAGE)


@pytest.mark.parametrize(
    ("values", "name"), [({}, "nofrost-torch"), ({"runtime": "mine"}, "mine"), ({"restarts": 1}, "nofrost-torch-")]
)
def test_it_asks_for_a_runtime_of_its_namespace(values: dict[str, Any], name: str) -> None:
    reference = as_trainjob(job(**values))["spec"]["runtimeRef"]
    assert (reference["apiGroup"], reference["kind"]) == ("trainer.kubeflow.org", "TrainingRuntime")
    assert reference["name"].startswith(name)
    if "restarts" in values:
        assert reference["name"] == training_runtime(job(**values).settings)["metadata"]["name"]


def test_its_deadline_is_that_of_the_settings() -> None:
    assert as_trainjob(job(deadline_s=3600))["spec"]["activeDeadlineSeconds"] == 3600


def test_the_patch_leaves_alone_what_its_webhook_refuses() -> None:
    """The trainer's container gets its environment from the trainer alone, and PET_* from the operator."""
    value = as_trainjob(job(env={"NCCL_DEBUG": "INFO"}))["spec"]
    (patch,) = value["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert re.fullmatch("[a-z]+/[a-z]+", patch["manager"]), "a path with a domain before it"
    assert "containers" not in replicated["template"]["spec"]["template"]["spec"]
    assert not [each["name"] for each in value["trainer"]["env"] if each["name"].startswith("PET_")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ttl_s": 60}, "ttl_s: a TrainJob has none, its launcher deletes it: delete ttl_s"),
        ({"runtime": "mine", "priority_class": "high"}, "priority_class: a TrainJob takes it from its runtime mine"),
    ],
)
def test_a_setting_that_it_cannot_have_is_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"the settings of the training job: {message}"):
        as_trainjob(job(**values))
