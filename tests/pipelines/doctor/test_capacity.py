"""Nodes with GPUs and the queue that admits a training, asked of the cluster; never an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kubernetes")

from nofrost.cluster.job.settings import JobSettings
from pipelines.doctor.capacity import check_capacity

NODES, KUEUE = "/api/v1/nodes", "/apis/kueue.x-k8s.io"
QUEUES = f"{KUEUE}/v1beta2/namespaces/team-a/localqueues"


def node(gpus: str, *, is_open: bool = True, resource: str = "nvidia.com/gpu", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels},
        "spec": {} if is_open else {"unschedulable": True},
        "status": {"allocatable": {resource: gpus, "cpu": "8"}},
    }


def found(settings: dict[str, Any], gpus: int = 0, nodes: int = 1) -> list[tuple[str, str, str]]:
    checked = check_capacity(JobSettings.model_validate(settings), "team-a", gpus=gpus, nodes=nodes)
    return [(each.check, each.state, each.detail) for each in checked]


def test_nothing_is_asked_for_what_is_not_wanted(kubernetes: Any) -> None:
    assert found({}) == []
    assert kubernetes.requests == []


@pytest.mark.parametrize(
    ("settings", "there", "state"),
    [
        ({}, [node("8"), node("8")], "ok"),
        ({}, [node("8"), node("4"), node("0")], "missing"),
        ({}, [node("8"), node("8", is_open=False)], "missing"),
        ({}, [], "missing"),
        ({"gpu": {"node_selector": {"pool": "gpu"}}}, [node("8", pool="gpu"), node("8")], "missing"),
        ({"gpu": {"node_selector": {"pool": "gpu"}}}, [node("8", pool="gpu"), node("8", pool="gpu")], "ok"),
        ({"gpu": {"resource": "amd.com/gpu"}}, [node("8"), node("8")], "missing"),
        ({"gpu": {"resource": "amd.com/gpu"}}, [node("8", resource="amd.com/gpu")] * 2, "ok"),
    ],
)
def test_two_nodes_with_eight_gpus(kubernetes: Any, settings: dict[str, Any], there: list[Any], state: str) -> None:
    kubernetes.objects[NODES] = {"items": there}
    ((check, is_found, detail),) = found(settings, gpus=8, nodes=2)
    assert (check, is_found) == ("GPUs", state), detail


def test_nodes_that_are_not_shown_are_unknown(kubernetes: Any) -> None:
    kubernetes.refused.add(NODES)
    ((_, state, detail),) = found({}, gpus=1)
    assert (state, detail) == ("unknown", "1 node with 1 nvidia.com/gpu: the cluster does not show its nodes (403)")


@pytest.mark.parametrize(
    ("kueue", "queue", "state", "fact"),
    [
        (False, None, "missing", "no Kueue"),
        (True, None, "missing", "there is no LocalQueue q in namespace team-a"),
        (True, {}, "ok", "LocalQueue q"),
        (True, {"status": {"conditions": [{"type": "Active", "status": "True"}]}}, "ok", "LocalQueue q"),
        (
            True,
            {"status": {"conditions": [{"type": "Active", "status": "False", "message": "no ClusterQueue"}]}},
            "missing",
            "admits nothing: no ClusterQueue",
        ),
    ],
)
def test_the_queue_of_the_settings(kubernetes: Any, kueue: bool, queue: Any, state: str, fact: str) -> None:
    if kueue:
        kubernetes.objects[KUEUE] = {"preferredVersion": {"version": "v1beta2"}}
    if queue is not None:
        kubernetes.objects[f"{QUEUES}/q"] = queue
    ((check, is_found, detail),) = found({"queue": "q"})
    assert (check, is_found, fact in detail) == ("queue", state, True), detail


def test_a_cluster_that_is_away_is_unknown(no_cluster: Path) -> None:
    assert [each[:2] for each in found({"queue": "q"}, gpus=1)] == [("GPUs", "unknown"), ("queue", "unknown")]
