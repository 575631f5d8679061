"""Waiting for a run: its tasks as they change, its outcome, and outages of the API."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import RunFailedError

pytest.importorskip("kfp")

from pipelines.submit import Api, ApiError, Endpoint, wait

SHOW = "GET .*/runs/run-1"
Start = Callable[..., Any]
MACHINERY = (
    ("root-driver", "SUCCEEDED"),
    ("root", "RUNNING"),
    ("prepare-driver", "SUCCEEDED"),
    ("executor", "RUNNING"),
    ("executor(0)", "FAILED"),
    ("run", "RUNNING"),
    ("run-2", "RUNNING"),
    ("run-2-driver", "SUCCEEDED"),
    ("exit-handler-1", "RUNNING"),
    ("exit-handler-1-driver", "SUCCEEDED"),
)


def task(name: str, state: str, message: str = "", pod: str = "") -> dict[str, Any]:
    error = {"error": {"code": 2, "message": message}} if message else {}
    return {"display_name": name, "state": state, "child_tasks": [{"pod_name": pod}] if pod else [], **error}


def run_of(state: str, *tasks: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"state": state, "run_details": {"task_details": list(tasks)}, **values}


@pytest.fixture
def running(api: Any, start: Start, capsys: pytest.CaptureFixture[str]) -> Api:
    """A client whose server has run-1."""
    start(api)
    capsys.readouterr()
    return api


def waited(api: Api, *, poll: float = 0.01, timeout: float = 20.0) -> None:
    wait("run-1", api, poll=poll, timeout=timeout)


def test_tasks_are_shown_as_they_change_and_success_is_that_of_the_run(
    kfp: Any, running: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    machinery = [task(*part) for part in MACHINERY]
    machinery.append(task("nofrost-k8dxc", "RUNNING", pod="nofrost-k8dxc-123"))  # the workflow itself
    first = run_of("RUNNING", *machinery, task("prepare", "RUNNING", pod="nofrost-k8dxc-5"))
    trains = [task("train", "RUNNING"), task("train", "RUNNING")]
    shards = [task("evaluate-shard", "RUNNING"), task("evaluate-shard-2", "RUNNING")]
    second = run_of("RUNNING", *machinery, task("prepare", "SUCCEEDED"), *trains, *shards)
    third = run_of("RUNNING", *machinery, task("prepare", "SUCCEEDED"), task("report", "BRAND_NEW"))
    last = run_of("SUCCEEDED", task("report", "SUCCEEDED"))
    kfp.story = [{"state": "PENDING"}, first, first, first, second, third, last]
    waited(running)
    assert capsys.readouterr() == (
        "",
        "run run-1: PENDING\n"
        "run run-1: RUNNING; running: prepare\n"
        "run run-1: RUNNING; running: evaluate-shard x2, train x2; succeeded: prepare\n"
        "run run-1: RUNNING; brand_new: report; succeeded: prepare\n"
        "run run-1: SUCCEEDED; succeeded: report\n",
    )


def test_a_failed_run_is_an_error_that_names_tasks_and_messages(kfp: Any, running: Api) -> None:
    history = [{"state": "RUNNING"}, {"state": "FAILED", "error": {"message": "no champion"}}]
    tasks = (
        task("nofrost-k8dxc", "FAILED", pod="nofrost-k8dxc-1"),
        task("root", "FAILED"),
        task("prepare", "SUCCEEDED"),
        task("train", "FAILED", "OOMKilled:\n exit code 137"),
        task("train", "FAILED"),
        task("run", "FAILED"),
        task("evaluate-2-driver", "FAILED"),
        {**task("report", "FAILED"), "state_history": history},
    )
    kfp.story = [{"state": "RUNNING"}, run_of("FAILED", *tasks, error={"message": "child 'train' failed"})]
    with pytest.raises(RunFailedError) as raised:
        waited(running)
    assert str(raised.value) == (
        "run run-1 failed at train (OOMKilled: exit code 137), evaluate-driver, report (no champion); "
        f"child 'train' failed: see {kfp.url}/#/runs/details/run-1"
    )


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (run_of("CANCELED"), "run run-1 was cancelled: see http"),
        (run_of("SKIPPED", task("prepare", "SKIPPED")), "run run-1 was skipped: see http"),
        (run_of("FAILED"), "run run-1 failed: see http"),
        ({"state": "FAILED"}, "run run-1 failed: see http"),
        (run_of("FAILED", task("root-driver", "FAILED")), "run run-1 failed at root-driver: see http"),
        (run_of("FAILED", error={"message": "deadline"}), r"run run-1 failed \(deadline\): see http"),
        ({"state": "LOST", "finished_at": "2026-11-02T11:00:00Z"}, "run-1 ended in the unknown state LOST: see"),
    ],
)
def test_only_success_is_success(kfp: Any, running: Api, run: dict[str, Any], message: str) -> None:
    kfp.story = [run]
    with pytest.raises(RunFailedError, match=message):
        waited(running)


@pytest.mark.parametrize(
    "run",
    [
        {"state": "PAUSED"},
        {"state": "CANCELING"},
        {"state": "RUNTIME_STATE_UNSPECIFIED"},
        {"state": "A_NEW_STATE"},
        {"state": "A_NEW_STATE", "finished_at": "1970-01-01T00:00:00Z"},
        {"state": "succeeded"},
        {},
    ],
)
def test_a_state_that_is_not_final_is_shown_and_waited_for(
    kfp: Any, running: Api, run: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [run, run, {"state": "SUCCEEDED"}]
    waited(running)
    assert capsys.readouterr().err.splitlines() == [f"run run-1: {run.get('state')}", "run run-1: SUCCEEDED"]


def test_a_run_that_takes_longer_than_asked_goes_on(kfp: Any, running: Api) -> None:
    kfp.story = [{"state": "RUNNING"}]
    message = f"run run-1 has not ended after 0.2 s and goes on: see {kfp.url}/#/runs/details/run-1"
    began = time.monotonic()
    with pytest.raises(RunFailedError, match=message):
        waited(running, timeout=0.2, poll=200.0)
    assert time.monotonic() - began < 100
    assert kfp.count(SHOW) == 2, "at the beginning and at the end"


@pytest.mark.parametrize("answer", ["drop", "page", (503, "no healthy upstream"), (429, "wait"), (500, {"code": 2})])
def test_a_lost_connection_is_reported_once_and_survived(
    kfp: Any, running: Api, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    kfp.fault(SHOW, lambda: None, answer, answer, answer)
    waited(running)
    shown = capsys.readouterr().err.splitlines()
    assert [line.endswith("; trying again, the run goes on") for line in shown] == [False, True, False, False]
    assert shown[2:] == ["the KFP API answers again", "run run-1: SUCCEEDED"]


def test_waiting_survives_a_server_that_is_down_for_a_while(
    kfp: Any, running: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    missed = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if "trying again" in line:
            missed.set()

    def restart() -> None:
        kfp.shutdown()
        kfp.socket.close()
        missed.wait(120)
        kfp.story = [{"state": "SUCCEEDED"}]
        kfp.socket = socket.create_server(kfp.server_address[:2])
        kfp.serve_forever(poll_interval=0.01)

    monkeypatch.setattr("pipelines.submit.waiting.say", say)
    kfp.story = [{"state": "RUNNING"}]
    thread = threading.Thread(target=restart)
    kfp.fault(SHOW, thread.start)
    waited(running)
    assert re.search(r"cannot be reached \((no connection|connection lost)\)", lines[1])
    assert lines[2:] == ["the KFP API answers again", "run run-1: SUCCEEDED"]
    kfp.shutdown()
    thread.join()


class Clock:
    """A clock that advances only in `sleep`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module under test."""
    clock = Clock()
    monkeypatch.setattr("pipelines.submit.waiting.time", clock)
    return clock


def test_waiting_ends_when_the_server_stays_down(kfp: Any, running: Api, clock: Clock) -> None:
    kfp.story = [{"state": "RUNNING"}]
    kfp.fault(SHOW, lambda: None, *["drop"] * 100)
    with pytest.raises(RunFailedError, match=r"no answer about run run-1 for 900 s \(.*connection lost.*\): see http"):
        wait("run-1", running, poll=60.0)
    assert clock.now == 960.0


def test_waiting_does_not_end_because_of_many_short_outages(kfp: Any, running: Api, clock: Clock) -> None:
    kfp.story = [*[{"state": "RUNNING"}] * 10, {"state": "SUCCEEDED"}]
    kfp.fault(SHOW, *[lambda: None, "drop", "drop"] * 10)
    wait("run-1", running, poll=300.0)
    assert clock.now == 30 * 300.0


def test_a_renewed_token_is_used_while_waiting(
    kfp: Any, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    path.write_text("first", encoding="utf-8")
    kfp.token = "first"
    api = Api(Endpoint(kfp.url, token_file=path))
    start(api)
    kfp.story = [{"state": "RUNNING"}, {"state": "SUCCEEDED"}]
    renewal = threading.Timer(0.3, path.write_text, ["second"])

    def expire() -> None:
        kfp.token = "second"
        path.write_text("", encoding="utf-8")
        renewal.start()

    kfp.fault(SHOW, lambda: None, expire)
    waited(api, poll=0.05)
    renewal.join()
    shown = capsys.readouterr().err
    assert "denies access (401)" in shown
    assert shown.endswith("the KFP API answers again\nrun run-1: SUCCEEDED\n")


def test_a_fixed_token_that_expires_ends_the_waiting(kfp: Any, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "first")
    api = Api(Endpoint(kfp.url))
    start(api)
    kfp.token = "second"
    with pytest.raises(ApiError, match=r"denies access \(401\)"):
        waited(api)


def test_an_api_that_never_answered_is_not_waited_for(kfp: Any, api: Any) -> None:
    kfp.fault("GET .*/healthz", (502, "Bad gateway"))
    with pytest.raises(ApiError, match=r"\(502\)"):
        waited(api)
    assert len(kfp.requests) == 1


def test_a_run_that_does_not_exist_is_named(api: Any) -> None:
    with pytest.raises(ApiError, match=r"refused to show the run \(404\): .*Run run-1 not found"):
        waited(api)


def test_an_interrupt_reports_that_the_run_goes_on(kfp: Any, running: Api, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.story = [{"state": "RUNNING"}]
    kfp.fault(SHOW, lambda: None, lambda: os.kill(os.getpid(), signal.SIGINT))
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
    try:
        with pytest.raises(KeyboardInterrupt):
            waited(running)
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert f"no longer waiting; run run-1 goes on: see {kfp.url}/#/runs/details/run-1" in capsys.readouterr().err
