"""What a PyTorchJob says, beside what both kinds of job have."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.spec import JobSpec
from nofrost.errors import PeerLostError, UserError
from tests.cluster.job.jobs import IMAGE, job
from tests.cluster.job.pod_security import problems


def pod(value: dict[str, Any], role: str = "Master") -> dict[str, Any]:
    spec: dict[str, Any] = value["spec"]["pytorchReplicaSpecs"][role]["template"]["spec"]
    return spec


def test_there_is_one_master_and_the_other_nodes_are_workers() -> None:
    replicas = as_pytorchjob(job(nodes=4))["spec"]["pytorchReplicaSpecs"]
    assert {role: each["replicas"] for role, each in replicas.items()} == {"Master": 1, "Worker": 3}
    assert replicas["Master"]["template"] == replicas["Worker"]["template"]
    assert set(as_pytorchjob(job(nodes=1))["spec"]["pytorchReplicaSpecs"]) == {"Master"}


@pytest.mark.parametrize(("gpus", "processes"), [(0, "1"), (1, "1"), (8, "8")])
def test_each_node_has_a_process_for_each_gpu(gpus: int, processes: str) -> None:
    assert as_pytorchjob(job(gpus=gpus))["spec"]["nprocPerNode"] == processes


def test_requests_are_limits_and_hold_the_gpus() -> None:
    values = {"resources": {"cpu": "16", "memory": "64Gi"}, "gpu": {"resource": "amd.com/gpu"}}
    resources = pod(as_pytorchjob(job(gpus=8, **values)))["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "16", "memory": "64Gi", "amd.com/gpu": "8"}
    resources = pod(as_pytorchjob(job(gpus=0, **values)))["containers"][0]["resources"]
    assert resources["limits"] == {"cpu": "16", "memory": "64Gi"}


def test_the_operator_tries_again_what_is_worth_it_and_cleans_up() -> None:
    spec = as_pytorchjob(job(deadline_s=3600))["spec"]
    assert spec["runPolicy"] == {
        "activeDeadlineSeconds": 3600,
        "backoffLimit": 3,
        "cleanPodPolicy": "Running",
        "ttlSecondsAfterFinished": 24 * 3600,
    }
    assert {each["restartPolicy"] for each in spec["pytorchReplicaSpecs"].values()} == {"ExitCode"}
    assert "restartPolicy" not in pod(as_pytorchjob(job()))
    assert as_pytorchjob(job(ttl_s=60))["spec"]["runPolicy"]["ttlSecondsAfterFinished"] == 60


def test_the_pod_is_placed_where_gpus_are() -> None:
    values: dict[str, Any] = {
        "placement": {"node_selector": {"zone": "a", "pool": "any"}, "tolerations": [{"key": "team"}]},
        "gpu": {"node_selector": {"pool": "gpu"}, "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
    }
    fields = pod(as_pytorchjob(job(**values)))
    assert fields["nodeSelector"] == {"zone": "a", "pool": "gpu"}
    assert fields["tolerations"] == [
        {"key": "team", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
    fields = pod(as_pytorchjob(job(gpus=0, **values)))
    assert fields["nodeSelector"] == {"zone": "a", "pool": "any"}
    assert len(fields["tolerations"]) == 1


def test_the_pod_has_what_the_settings_say() -> None:
    values = {"priority_class": "high", "service_account": "trainer", "pull_secrets": ["registry"]}
    fields = pod(as_pytorchjob(job(shared_memory="32Gi", image_pull_policy="Always", **values)), "Worker")
    assert fields["priorityClassName"] == "high"
    assert fields["serviceAccountName"] == "trainer"
    assert fields["imagePullSecrets"] == [{"name": "registry"}]
    assert fields["volumes"][1] == {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}}
    assert fields["terminationGracePeriodSeconds"] == 120
    (container,) = fields["containers"]
    assert (container["name"], container["image"]) == ("pytorch", IMAGE)
    assert container["imagePullPolicy"] == "Always"
    assert {each["mountPath"]: each["name"] for each in container["volumeMounts"]} == {"/tmp": "tmp", "/dev/shm": "shm"}
    absent = ("schedulerName", "priorityClassName", "serviceAccountName", "imagePullSecrets", "nodeSelector")
    assert not set(absent) & set(pod(as_pytorchjob(job())))


@pytest.mark.parametrize("role", ["Master", "Worker"])
def test_the_pods_fit_a_restricted_namespace_without_istio_and_token(role: str) -> None:
    value = as_pytorchjob(job())
    assert problems(pod(value, role)) == []
    assert pod(value, role)["automountServiceAccountToken"] is False
    metadata = value["spec"]["pytorchReplicaSpecs"][role]["template"]["metadata"]
    assert metadata["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert metadata["labels"].items() >= {"sidecar.istio.io/inject": "false", "nofrost/run": "run-1"}.items()


def test_the_user_is_that_of_the_image_if_none_is_given() -> None:
    assert pod(as_pytorchjob(job(run_as=7)))["securityContext"].items() >= {"runAsUser": 7, "runAsGroup": 7}.items()
    assert "runAsUser" not in pod(as_pytorchjob(job(run_as=None)))["securityContext"]
    assert problems(pod(as_pytorchjob(job(run_as=None)))) == []


@pytest.mark.parametrize(
    ("values", "policy", "scheduler"),
    [
        ({"gang": {"scheduler": "volcano"}}, {"minAvailable": 3}, "volcano"),
        (
            {"gang": {"scheduler": "volcano", "queue": "q", "scheduler_name": "mine"}, "priority_class": "high"},
            {"minAvailable": 3, "queue": "q", "priorityClass": "high"},
            "mine",
        ),
        (
            {"gang": {"scheduler": "scheduler-plugins", "timeout_s": 60}, "priority_class": "high"},
            {"minAvailable": 3, "scheduleTimeoutSeconds": 60},
            "scheduler-plugins-scheduler",
        ),
    ],
)
def test_a_gang_is_all_nodes(values: dict[str, Any], policy: dict[str, Any], scheduler: str) -> None:
    value = as_pytorchjob(job(nodes=3, **values))
    assert value["spec"]["runPolicy"]["schedulingPolicy"] == policy
    assert {pod(value, role)["schedulerName"] for role in ("Master", "Worker")} == {scheduler}


def test_kueue_reads_the_label_of_the_job_and_starts_it_itself() -> None:
    value = as_pytorchjob(job(queue="team-a"))
    assert value["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    labels = value["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["metadata"]["labels"]
    assert not [key for key in labels if key.startswith("kueue")], "a pod with it would be admitted on its own"
    assert "suspend" not in value["spec"]["runPolicy"], "without Kueue it would wait forever"


def test_a_setting_that_it_cannot_have_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the settings of the training job: runtime: a PyTorchJob has none: delete it"):
        as_pytorchjob(job(runtime="mine"))


def test_its_pods_end_with_a_code_that_the_operator_tries_again_where_starts_are_counted() -> None:
    for role in ("Master", "Worker"):
        (code,) = (each["value"] for each in environment_of(job(), role) if each["name"] == "NOFROST_FAILURE_CODE")
        assert 128 <= int(code) <= 255
        assert int(code) not in (130, 137, 143, PeerLostError.exit_code)
    assert "NOFROST_FAILURE_CODE" not in [each["name"] for each in environment_of(job(run=""), "Master")]


def environment_of(spec: JobSpec, role: str) -> list[dict[str, Any]]:
    variables: list[dict[str, Any]] = pod(as_pytorchjob(spec), role)["containers"][0]["env"]
    return variables
