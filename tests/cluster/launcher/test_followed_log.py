"""The log of rank 0 is shown and stored: no line is lost, and none comes twice."""

from __future__ import annotations

import time

import pytest

from nofrost.cluster.launcher import rank_log
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import PODS
from tests.cluster.launcher.launched_job import OUTPUT, LaunchedJob, wait_until


def test_log_cut(launched: LaunchedJob) -> None:
    """Anywhere: in a line, between two of the same second, before the container ends."""
    end = launched.start()
    launched.run()
    for number in range(60):
        launched.write("the same line", f"line {number}")
        if number % 7 == 0:
            launched.server.cut_connections()
        if number % 20 == 10:
            wait_until(lambda number=number: f"line {number}" in launched.shown)
    launched.server.cut_connections()
    launched.write("the last line has no end", end="")
    launched.succeed()
    assert end.result(120) == OUTPUT
    expected = ["started"]
    for number in range(60):
        expected += ["the same line", f"line {number}"]
    expected.append("the last line has no end")
    assert launched.shown == expected
    assert launched.stored_lines() == expected
    assert launched.created == 1
    assert not launched.is_there


def test_log_over_a_restart_of_the_container(pytorchjob: LaunchedJob) -> None:
    """The log of the container before is read to its end."""
    end = pytorchjob.start()
    pytorchjob.run()
    pod = pytorchjob.pod_name(0)
    wait_until(lambda: pytorchjob.shown)
    server = pytorchjob.server
    with server.fault(_no_logs):
        server.cut_connections()
        pytorchjob.write("its last words")
        server.restart_log(pod)
        running = pytorchjob.status("Running")
        running["containerStatuses"][0]["restartCount"] = 1
        pytorchjob.change_pods(running)
        pytorchjob.write("started again")
    wait_until(lambda: "started again" in pytorchjob.shown)
    pytorchjob.put_output()
    server.close_log(pod)
    pytorchjob.condition("Succeeded")
    assert end.result(120) == OUTPUT
    assert pytorchjob.shown == ["started", "its last words", "started again"] == pytorchjob.stored_lines()


def test_log_over_a_restart_of_the_job(launched: LaunchedJob) -> None:
    """New pods, of other names or the same, one after another."""
    end = launched.start()
    launched.run()
    launched.write("saved epoch 1")
    launched.server.close_log(launched.pod_name(0), launched.container)
    launched.change_pods(launched.status("Failed", code=143), launched.status("Failed", code=200))
    launched.condition("Restarting", message="pods are started again")
    wait_until(lambda: len(launched.shown) == 2)
    launched.remove_pods()
    launched.add_pods(launched.status("Running"), launched.status("Running"), attempt="bbbbb")
    launched.write("continues from epoch 1", attempt="bbbbb")
    wait_until(lambda: len(launched.shown) == 3)
    launched.succeed(attempt="bbbbb")
    assert end.result(120) == OUTPUT
    assert launched.shown == ["started", "saved epoch 1", "continues from epoch 1"] == launched.stored_lines()


def test_the_log_of_a_lost_machine_does_not_hold_up_the_end(
    pytorchjob: LaunchedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_log, "_KUBELET_S", 0.1)
    end = pytorchjob.start(log_s=200.0)
    pytorchjob.run()
    pytorchjob.server.lose_machine(pytorchjob.pod_name(0))
    began = time.monotonic()
    pytorchjob.put_output()
    pytorchjob.condition("Succeeded")
    assert end.result(120) == OUTPUT
    assert time.monotonic() - began < 100
    assert pytorchjob.server.names(PODS)


def _no_logs(method: str, path: str) -> None:
    if path.endswith("/log"):
        raise RefusedError(503, "ServiceUnavailable", "the kubelet is away")
