"""SIGTERM deletes the job at once, wherever it comes, and only a job of this launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from nofrost.errors import StoppedError
from nofrost.stopping import stopped_by_sigterm
from tests.cluster.double.refusals import RefusedError
from tests.cluster.launcher.launched_job import NAME, OUTPUT, LaunchedJob, wait_until

# A signal may come while urllib3 takes a connection from its pool: then neither has it, and the socket is closed late.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


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
    # Kubeflow leaves less than a second to the end of a run; a busy machine may take longer.
    assert stopped_s[1] - stopped_s[0] < 20
    assert launched.stored_lines() == ["started"]


def test_sigterm_while_the_job_is_created(launched: LaunchedJob) -> None:
    """The job is there, and the answer comes when nobody waits for it any more."""

    def stop(method: str, path: str) -> None:
        if method == "POST":
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: launched.server.count("GET", NAME))

    launched.server.after.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    assert launched.created == 1
    assert not launched.is_there


def test_sigterm_while_the_server_takes_its_time_to_create(launched: LaunchedJob) -> None:
    """It makes the job when the launcher has looked for it in vain."""

    def stop(method: str, path: str) -> None:
        if method == "POST":
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: launched.server.count("GET", NAME))

    launched.server.faults.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    assert launched.created == 1
    assert launched.server.count("DELETE", NAME) == 1
    assert not launched.is_there


@pytest.mark.parametrize("run", ["run-1", "run-2"])
def test_sigterm_leaves_a_job_that_another_launcher_has_adopted(run: str, launched: LaunchedJob) -> None:
    ends: list[Any] = []

    def take_over() -> None:
        wait_until(lambda: launched.is_there)
        launched.run()
        ends.append(launched.start(launched.body(run=run, owner="launcher-2")))
        wait_until(lambda: launched.is_owned_by("launcher-2"))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=take_over)
    thread.start()
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch()
    thread.join()
    assert launched.is_there
    assert launched.server.count("DELETE", NAME) == 0
    launched.succeed()
    assert ends[0].result(120) == OUTPUT
    assert not launched.is_there


def test_a_run_that_stops_before_it_has_adopted_leaves_the_job(launched: LaunchedJob) -> None:
    first = launched.start()
    launched.run()

    def stop(method: str, path: str) -> None:
        if method == "PATCH":
            launched.server.faults.remove(stop)
            looks = launched.server.count("GET", NAME)
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(lambda: launched.server.count("GET", NAME) > looks)
            raise RefusedError(500, "InternalError", "lost")

    launched.server.faults.append(stop)
    with pytest.raises(StoppedError), stopped_by_sigterm():
        launched.launch(launched.body(run="run-2", owner="launcher-2"))
    assert launched.is_there
    launched.succeed()
    assert first.result(120) == OUTPUT
