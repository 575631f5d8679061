"""What Kubernetes says of a job in one word and a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.launcher.state import JobPhase, exit_codes, job_state, rank_zero, start_problem

PYTORCHJOB, TRAINJOB = JOB_KINDS


def condition(kind: str, message: str = "", status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message, "reason": "Reason"}


def job(*conditions: dict[str, str], suspend: bool | None = None) -> dict[str, Any]:
    spec = {} if suspend is None else {"runPolicy": {"suspend": suspend}}
    return {"metadata": {"name": "j"}, "spec": spec, "status": {"conditions": list(conditions)}}


def pod(phase: str = "Pending", *conditions: dict[str, str], waiting: str = "", **status: Any) -> dict[str, Any]:
    containers = (
        [{"name": "node", "state": {"waiting": {"reason": waiting, "message": "a message"}}}] if waiting else []
    )
    own = {"phase": phase, "conditions": list(conditions), "containerStatuses": containers, **status}
    spec = {} if phase == "Pending" and not waiting else {"nodeName": "n1"}
    return {"metadata": {"name": "p", "uid": "u"}, "spec": spec, "status": own}


UNPLACED = condition("PodScheduled", "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.", "False")
DRAINED = condition("DisruptionTarget", "Eviction API: evicting")


@pytest.mark.parametrize(
    ("found", "pods", "phase", "text"),
    [
        ({"metadata": {}, "spec": {}}, [], JobPhase.CREATED, "created: no pods yet"),
        (job(condition("Created")), [], JobPhase.CREATED, "created: no pods yet"),
        (job(condition("Suspended", "waits for room"), suspend=True), [], JobPhase.QUEUED, "queued: waits for room"),
        (job(suspend=True), [], JobPhase.QUEUED, "queued"),
        ({"metadata": {}, "spec": {"suspend": True}}, [], JobPhase.QUEUED, "queued"),
        (job(condition("Suspended", status="False"), suspend=False), [], JobPhase.CREATED, "created: no pods yet"),
        (job(), [pod("Pending", UNPLACED), pod("Running")], JobPhase.PENDING,
         "placed 1 of 2: 0/4 nodes are available: 4 Insufficient nvidia.com/gpu"),
        (job(), [pod("Running")], JobPhase.PENDING, "placed 1 of 2"),
        (job(), [pod(waiting="ContainerCreating"), pod("Running")], JobPhase.PENDING,
         "placed 2 of 2, started 1: p: ContainerCreating"),
        (job(condition("Running")), [pod("Running"), pod("Running")], JobPhase.RUNNING, "running on 2 nodes"),
        (job(), [pod("Succeeded"), pod("Running")], JobPhase.RUNNING, "running on 2 nodes"),
        (job(condition("Restarting", "a pod failed")), [], JobPhase.PENDING, "restarting: a pod failed"),
        (job(), [pod("Failed", DRAINED), pod("Running")], JobPhase.PENDING, "evicted: p: Eviction API: evicting"),
        (job(), [pod("Failed", reason="Evicted", message="no memory")], JobPhase.PENDING, "evicted: p: no memory"),
        (job(), [pod("Failed", DRAINED), pod("Running"), pod("Running")], JobPhase.RUNNING, "running on 2 nodes"),
        (job(), [{**pod("Running"), "metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}, pod("Running")],
         JobPhase.PENDING, "placed 1 of 2"),
        (job(condition("Failed", "pods failed"), condition("Running")), [], JobPhase.FAILED, "failed: pods failed"),
        (job(condition("Failed", status="False")), [], JobPhase.CREATED, "created: no pods yet"),
    ],
)  # fmt: skip
def test_states(found: Any, pods: list[Any], phase: JobPhase, text: str) -> None:
    state = job_state(PYTORCHJOB, found, pods, 2)
    assert (state.phase, state.text) == (phase, text)


def test_each_kind_succeeds_in_its_own_word() -> None:
    assert job_state(PYTORCHJOB, job(condition("Succeeded")), [], 2).phase is JobPhase.SUCCEEDED
    assert job_state(TRAINJOB, job(condition("Complete")), [], 2).phase is JobPhase.SUCCEEDED
    assert job_state(TRAINJOB, job(condition("Succeeded")), [], 2).phase is JobPhase.CREATED


def test_what_the_queue_says_comes_first() -> None:
    suspended = job(condition("Suspended", "the job is suspended"), suspend=True)
    assert job_state(PYTORCHJOB, suspended, [], 2, "8 more GPUs needed").text == "queued: 8 more GPUs needed"


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled(reason: str) -> None:
    assert (
        start_problem([pod("Running"), pod(waiting=reason)]) == f"p: its image cannot be pulled ({reason}): a message"
    )


def test_a_secret_that_is_missing() -> None:
    assert start_problem([pod(waiting="CreateContainerConfigError")]).startswith("p: it cannot start (CreateContainer")
    assert start_problem([pod(waiting="ContainerCreating"), pod("Running"), pod()]) == ""


def test_exit_codes_are_those_of_containers_that_ended() -> None:
    ended = {"name": "node", "state": {"terminated": {"exitCode": 200}}}
    again = {"name": "node", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137}}}
    pods = [pod("Failed", containerStatuses=[ended]), pod("Succeeded"), pod("Running", containerStatuses=[again])]
    for number, each in enumerate(pods):
        each["metadata"]["name"] = f"p{number}"
    assert exit_codes(pods) == {"p0": 200, "p2": 137}


def test_rank_zero_is_in_the_pods_of_node_zero() -> None:
    index, role = "batch.kubernetes.io/job-completion-index", "training.kubeflow.org/replica-type"
    metadata: list[dict[str, Any]] = [
        {"labels": {role: "master"}, "creationTimestamp": "2026-01-02T03:04:06Z"},
        {"labels": {role: "worker"}},
        {"annotations": {index: "0"}, "creationTimestamp": "2026-01-02T03:04:05Z"},
        {"labels": {index: "1"}},
        {},
    ]
    found = rank_zero([{"metadata": each} for each in metadata])
    assert [each["metadata"] for each in found] == [metadata[2], metadata[0]]
