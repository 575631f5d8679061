"""What becomes of an API server, a connection or a launcher changes nothing for the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.launcher.follower import OutOfReachError
from nofrost.cluster.launcher.launch import launch
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.errors import StoppedError, UserError
from nofrost.stopping import stopped_by_sigterm
from tests.cluster.double.api_server import CutError, Log, RefusedError
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, api_of, wait_until


def test_sigterm(launched: LaunchedJob) -> None:
    """One DELETE at once, on a connection that is open."""
    stopped_s: list[float] = []

    def stop() -> None:
        wait_until(lambda: launched.is_there)
        launched.run()
        launched.wait_for_looks()
        stopped_s.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: not launched.is_there)
        stopped_s.append(time.monotonic())

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(StoppedError) as error, stopped_by_sigterm():
        launched.launch()
    thread.join()
    assert error.value.exit_code == 143
    assert launched.server.count("DELETE", NAME) == 1
    # Kubeflow leaves less than a second to the end of a run.
    assert stopped_s[1] - stopped_s[0] < 1
    assert launched.stored_lines() == ["started"]


def test_sigterm_while_the_job_is_created(launched: LaunchedJob) -> None:
    """The answer is lost, and the job is there."""

    def stop(method: str, path: str) -> None:
        if method == "POST":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    launched.server.after.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    assert launched.created == 1
    assert not launched.is_there


def test_api_gone(launched: LaunchedJob, capsys: pytest.CaptureFixture[str]) -> None:
    end = launched.start()
    launched.run()
    launched.server.stop()
    time.sleep(0.3)
    # Meanwhile the job goes on.
    launched.write("goes on")
    launched.server.start()
    wait_until(lambda: "goes on" in launched.shown)
    launched.server.stop()
    launched.write("and on")
    launched.succeed()
    launched.server.start()
    assert end.result(20) == OUTPUT
    assert launched.shown == ["started", "goes on", "and on"] == launched.stored_lines()
    assert launched.created == 1
    assert not launched.is_there
    said = capsys.readouterr().err
    assert said.index("does not answer") < said.index("Kubernetes answers again") < said.index("succeeded")


@pytest.mark.slow
def test_api_gone_for_a_minute(pytorchjob: LaunchedJob) -> None:
    """With the limits and pauses of every day."""
    job = pytorchjob
    usual = Limits(deadline_s=600, queue_timeout_s=600)
    api = api_of(job.server, backoff=Backoff)
    options = {"api": api, "store": job.store, "limits": usual, "recorded": job.read_recorded, "show": job.shown.append}
    with ThreadPoolExecutor() as threads:
        end = threads.submit(launch, job.body(), job.kind, 2, **options)
        wait_until(lambda: job.is_there)
        job.add_pods(job.status("Running"), job.status("Running"))
        job.write("started")
        wait_until(lambda: job.shown)
        job.server.stop()
        time.sleep(70)
        job.write("goes on")
        job.server.start()
        job.succeed()
        assert end.result(60) == OUTPUT
    assert job.shown == ["started", "goes on"] == job.stored_lines()
    assert job.created == 1


def test_api_gone_for_too_long(launched: LaunchedJob) -> None:
    # A deletion would be tried for so long, and succeed when the server is back.
    launched.retry_for_s = 60
    end = launched.start(outage_s=0.2)
    launched.run()
    launched.server.stop()
    with pytest.raises(OutOfReachError, match=f"{NAME} may go on: submit again to follow it") as error:
        end.result(20)
    assert error.value.exit_code == 1
    launched.server.start()
    assert launched.is_there


@pytest.mark.parametrize("code", [429, 500, 503, 504, 0])
def test_500_and_429(code: int, launched: LaunchedJob) -> None:
    """Of any two requests of a kind one is refused, or cut (0)."""
    counts: Counter[tuple[str, str]] = Counter()

    def refuse(method: str, path: str) -> None:
        counts[method, path] += 1
        if counts[method, path] % 2:
            if not code:
                raise CutError
            raise RefusedError(code, "X", "come again", {"Retry-After": "0.01"} if code == 429 else {})

    launched.server.faults.append(refuse)
    end = launched.start()
    wait_until(lambda: launched.is_there)
    launched.run()
    launched.write("goes on")
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.shown == ["started", "goes on"] == launched.stored_lines()
    assert not launched.is_there


@pytest.mark.parametrize("fault", [CutError(), RefusedError(500, "InternalError", "etcd is slow")], ids=["cut", "500"])
def test_the_answer_to_the_creation_is_lost(fault: Exception, launched: LaunchedJob) -> None:
    """The job is there: it is not created twice, and not refused."""

    def lose(method: str, path: str) -> None:
        if method == "POST":
            launched.server.after.remove(lose)
            raise fault

    launched.server.after.append(lose)
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.created == 1


def test_the_creation_is_lost_before_it_is_carried_out(launched: LaunchedJob) -> None:
    def lose(method: str, path: str) -> None:
        if method == "POST" and launched.created < 3:
            raise CutError

    launched.server.faults.append(lose)
    end = launched.start()
    wait_until(lambda: launched.is_there)
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.created == 3


def test_an_expired_token_is_read_again(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    # The client's token is not valid for a moment, as while a kubelet replaces it.
    launched.server.token = "token-2"
    time.sleep(0.2)
    launched.server.token = "token-1"
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_watch_expired(launched: LaunchedJob) -> None:
    end = launched.start()
    launched.run()
    launched.server.forget_changes()
    launched.server.cut_connections()
    launched.wait_for_looks()
    launched.condition("Restarting", "False")
    launched.server.forget_changes()
    launched.succeed()
    assert end.result(20) == OUTPUT
    lists = [query for method, path, query in launched.server.requests if path.endswith(launched.resource.plural)]
    assert any("watch=true" in query for query in lists)
    assert sum(query == f"fieldSelector=metadata.name%3D{NAME}" for query in lists) >= 2, "listed again"


def test_a_watch_that_is_refused_is_replaced_by_looks(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if path.endswith(launched.resource.plural) and method == "GET":
            raise RefusedError(403, "Forbidden", "cannot watch")

    launched.server.faults.append(refuse)
    end = launched.start()
    launched.run()
    launched.succeed()
    assert end.result(20) == OUTPUT


def test_rights_are_missing(launched: LaunchedJob) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "POST":
            raise RefusedError(403, "Forbidden", f'{launched.kind.plural} is forbidden: User "x" cannot create')

    launched.server.faults.append(refuse)
    with pytest.raises(UserError, match=r"cannot create.*let the service account of this pod") as error:
        launched.launch()
    assert error.value.exit_code == 2


def test_log_cut(launched: LaunchedJob) -> None:
    """Anywhere: in a line, between two of the same second, before the container ends."""
    end = launched.start()
    launched.run()
    for number in range(60):
        launched.write("the same line", f"line {number}")
        if number % 7 == 0:
            launched.server.cut_connections()
        time.sleep(0.005)
    launched.server.cut_connections()
    launched.write("the last line has no end", end="")
    launched.succeed()
    assert end.result(20) == OUTPUT
    expected = ["started"]
    for number in range(60):
        expected += ["the same line", f"line {number}"]
    expected.append("the last line has no end")
    assert launched.shown == expected
    assert launched.stored_lines() == expected


def test_log_over_a_restart_of_the_container(pytorchjob: LaunchedJob) -> None:
    """The log of the container before is read to its end."""
    end = pytorchjob.start()
    pytorchjob.run()
    pod = pytorchjob.pod_name(0)
    wait_until(lambda: pytorchjob.shown)
    server = pytorchjob.server
    before = server.logs.pop((pod, "pytorch"))
    with server.fault(_no_logs):
        server.cut_connections()
        before.lines += Log([(before.lines[-1][0], b"its last words\n")]).lines
        before.is_closed = True
        server.logs[pod, "pytorch/previous"] = before
        running = pytorchjob.status("Running")
        running["containerStatuses"][0]["restartCount"] = 1
        pytorchjob.change_pods(running)
        pytorchjob.write("started again")
    wait_until(lambda: "started again" in pytorchjob.shown)
    pytorchjob.store.put(f"nofrost/jobs/{NAME}/output", OUTPUT.encode())
    server.close_log(pod)
    pytorchjob.condition("Succeeded")
    assert end.result(20) == OUTPUT
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
    launched.server.logs.clear()
    launched.add_pods(launched.status("Running"), launched.status("Running"), attempt="bbbbb")
    launched.write("continues from epoch 1", attempt="bbbbb")
    wait_until(lambda: len(launched.shown) == 3)
    launched.store.put(f"nofrost/jobs/{NAME}/output", OUTPUT.encode())
    launched.server.close_log(launched.pod_name(0, "bbbbb"), launched.container)
    launched.condition(launched.kind.succeeded)
    assert end.result(20) == OUTPUT
    assert launched.shown == ["started", "saved epoch 1", "continues from epoch 1"] == launched.stored_lines()


def test_launcher_killed_and_started_again(launched: LaunchedJob, tmp_path: Path) -> None:
    """With -9, while the job runs: the next one follows the same job, and shows no line twice."""
    script = tmp_path / "ranks.py"
    script.write_text(_script(launched))
    first = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, env=_environment(), text=True)
    wait_until(lambda: launched.is_there)
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    launched.write("started", "epoch 1")
    try:
        wait_until(lambda: "epoch 1" in launched.stored_lines())
    finally:
        first.kill()
        _, said = first.communicate(timeout=20)
    assert "epoch 1" in said
    assert launched.is_there
    launched.write("epoch 2")
    end = launched.start(launched.body(owner="launcher-2"))
    wait_until(lambda: "epoch 2" in launched.shown)
    launched.succeed()
    assert end.result(20) == OUTPUT
    assert launched.created == 2, "the second is refused with 409"
    assert launched.shown == ["epoch 2"]
    assert launched.stored_lines() == ["started", "epoch 1", "epoch 2"]
    assert not launched.is_there


def _script(launched: LaunchedJob) -> str:
    settings = {"url": launched.server.url, "store": launched.store.url, "body": launched.body()}
    return f"""
import json
from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.api.connection import Connection
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.cluster.launcher import launch
from nofrost.store import open_store

settings = json.loads({json.dumps(json.dumps(settings))})
StoredLog.__init__.__kwdefaults__["flush_s"] = 0.01
kind = next(kind for kind in JOB_KINDS if kind.kind == {launched.kind.kind!r})
connection = Connection(settings["url"], "research", lambda: "Bearer token-1", {{}})
api = KubernetesApi(connection, 20, lambda: Backoff(0.005, 0.05))
launch.launch(settings["body"], kind, 2, api=api, store=open_store(settings["store"]), recorded=lambda *_: None,
              limits=Limits(deadline_s=60, queue_timeout_s=60, interval_s=0.02))
"""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _no_logs(method: str, path: str) -> None:
    if path.endswith("/log"):
        raise RefusedError(503, "ServiceUnavailable", "the kubelet is away")
