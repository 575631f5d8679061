"""A job that waits for its place is queued, which is said with the reason, and its deadline counts work alone."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from nofrost.cluster.launcher.job_ends import JobEndedError
from tests.cluster.double import objects
from tests.cluster.double.resources import WORKLOADS
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until


def test_queued_for_long(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    """The deadline does not count in the queue."""
    said = hear()
    end = launched.start(deadline_s=0.3)
    uid = launched.server.find(launched.resource, NAME)["metadata"]["uid"]
    sentence = "couldn't assign flavors to pod set node: insufficient unused quota for nvidia.com/gpu, 8 more needed"
    reserved = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": sentence}
    labels = {"kueue.x-k8s.io/job-uid": uid}
    launched.server.add(WORKLOADS, "job-1", metadata={"labels": labels}, status={"conditions": [reserved]})
    launched.suspend(True, "the job is suspended")
    wait_until(lambda: f"{NAME}: queued: {sentence}\n" in said.getvalue())
    launched.let_pass(0.5)
    launched.suspend(False)
    wait_until(lambda: f"{NAME}: admitted, " in said.getvalue())
    launched.add_pods(launched.status("Pending", waiting="ContainerCreating"), launched.unplaced("no room"))
    launched.succeed()
    assert end.result(120) == OUTPUT
    assert launched.created == 1
    assert not launched.is_there


def test_queued_for_too_long(launched: LaunchedJob) -> None:
    launched.add()
    launched.suspend(True, "the queue is full")
    with pytest.raises(JobEndedError, match=r"run on 2 nodes after 0 s \(queued: the queue is full\)") as error:
        launched.launch(queue_timeout_s=0.2)
    assert error.value.exit_code == 1
    assert not launched.is_there


def test_a_busy_queue_of_a_gang_scheduler_is_waited_for(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start(start_s=0.1)
    launched.warn(NAME, "Unschedulable", "0/0 tasks in gang unschedulable", kind="PodGroup")
    wait_until(lambda: f"{NAME}: queued: Unschedulable: 0/0 tasks in gang unschedulable" in said.getvalue())
    launched.let_pass(0.3)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_evicted_and_admitted_again(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start()
    launched.run()
    launched.server.close_log(launched.pod_name(0), launched.container)
    launched.suspend(True, "Preempted to accommodate a workload")
    launched.remove_pods()
    wait_until(lambda: f"{NAME}: evicted, queued: Preempted to accommodate a workload\n" in said.getvalue())
    launched.suspend(False)
    wait_until(lambda: "admitted, " in said.getvalue())
    running = launched.status("Running")
    launched.add_pods(running, running, attempt="bbbbb")
    launched.write("goes on", attempt="bbbbb")
    wait_until(lambda: "goes on" in launched.shown and said.getvalue().count("running on 2 nodes") == 2)
    launched.succeed(attempt="bbbbb")
    assert end.result(120) == OUTPUT
    assert launched.created == 1
    assert launched.shown == ["started", "goes on"] == launched.stored_lines()
    assert not launched.is_there


def test_a_pod_that_is_evicted_from_its_node_is_said(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    end = launched.start()
    launched.run()
    evicted = launched.status("Failed", code=143)
    evicted["conditions"].append({"type": "DisruptionTarget", "status": "True", "message": "the node is drained"})
    launched.change_pods(launched.status("Running"), evicted)
    sentence = f"{NAME}: evicted: {launched.pod_name(1)}: the node is drained\n"
    wait_until(lambda: sentence in said.getvalue())
    launched.change_pods(launched.status("Running"), launched.status("Running"))
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_a_job_that_lost_a_node_waits_for_its_place(launched: LaunchedJob, hear: Callable[[], io.StringIO]) -> None:
    said = hear()
    launched.add()
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    end = launched.start(queue_timeout_s=0.2)
    wait_until(lambda: "running on 2 nodes" in said.getvalue())
    launched.change_pods(launched.status("Running"), launched.unplaced("no room"))
    with pytest.raises(JobEndedError, match=r"run on 2 nodes after 0 s \(placed 1 of 2: no room\)"):
        end.result(120)


def test_an_adopted_job_has_waited_since_it_was_made(launched: LaunchedJob) -> None:
    launched.add(creationTimestamp="2026-01-02T03:04:05Z")
    with pytest.raises(JobEndedError, match="does not run on 2 nodes"):
        launched.launch(queue_timeout_s=3600)


def test_signs_say_when_a_job_was_followed_and_for_how_long_it_has_worked(launched: LaunchedJob) -> None:
    end = launched.start(sign_s=0.0)
    launched.run()
    wait_until(lambda: "nofrost/seen" in launched.server.find(launched.resource, NAME)["metadata"]["annotations"])
    annotations = launched.server.find(launched.resource, NAME)["metadata"]["annotations"]
    assert annotations["nofrost/spec"] == "a" * 64
    assert int(annotations["nofrost/worked-s"]) >= 0
    launched.succeed()
    assert end.result(120) == OUTPUT


@pytest.mark.parametrize("hours", [-5, 5])
@pytest.mark.parametrize("is_adopted", [False, True])
def test_times_of_a_job_are_by_the_clock_of_the_server(
    is_adopted: bool, hours: int, launched: LaunchedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "CLOCK_AHEAD", timedelta(hours=hours))
    if is_adopted:
        launched.add()
        launched.add_pods(launched.status("Running"), launched.status("Running"))
        launched.condition("Running")
    end = launched.start(queue_timeout_s=3600, deadline_s=3600)
    wait_until(lambda: launched.is_there)
    launched.wait_for_looks()
    if not is_adopted:
        launched.run()
        launched.wait_for_looks()
    launched.succeed()
    assert end.result(120) == OUTPUT


def test_the_deadline_counts_the_work_for_earlier_launchers(launched: LaunchedJob) -> None:
    body = launched.body()
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    body["metadata"]["annotations"] |= {"nofrost/seen": now, "nofrost/worked-s": "5000"}
    launched.add(body)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    with pytest.raises(JobEndedError, match="has not ended in 5000 s, its deadline"):
        launched.launch(deadline_s=5000)
