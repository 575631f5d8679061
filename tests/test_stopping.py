"""SIGTERM ends a command by one sentence and exit code 143, wherever it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nofrost import stopping
from nofrost.errors import StoppedError
from nofrost.stage import stage_output
from nofrost.stopping import TerminatedError, stop_requested, stopped_by_sigterm


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_code_that_survives_every_exception_is_stopped_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="stopped: run the same command again") as caught, stopped_by_sigterm():  # noqa: PT012
        try:
            terminate()
        except Exception:
            pytest.fail("it is no Exception")
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("resumable", [True, False])
def test_the_sentence_says_whether_something_was_saved(tmp_path: Path, resumable: bool) -> None:
    words = "continues from what was saved" if resumable else "run the same command again"
    output = stage_output(tmp_path / "out", stage="test", inputs=[], fingerprint={}, resumable=resumable)
    with pytest.raises(StoppedError, match=words), stopped_by_sigterm(), output as folder:  # noqa: PT012
        (folder / "file").touch()
        terminate()
    assert [path.name for path in tmp_path.iterdir()] == ([".out.nofrost-partial"] if resumable else [])


def test_where_work_asks_for_requests_to_stop_nothing_is_raised() -> None:
    with stopped_by_sigterm():
        with stop_requested() as stop:
            terminate()
            assert stop.is_set()
        with pytest.raises(TerminatedError):
            terminate()


def test_an_error_that_python_drops_is_raised_again() -> None:
    script = """
import os, signal, time
from nofrost.errors import StoppedError
from nofrost.stopping import stopped_by_sigterm

class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with stopped_by_sigterm():
        Dropping()
        time.sleep(20)
except StoppedError as error:
    error.exit()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 143
    assert "Exception ignored" in done.stderr


def test_cleaning_up_may_take_longer_than_noticing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "MAIN_THREAD_GRACE_S", 0.1)
    cleaned = False
    with pytest.raises(StoppedError), stopped_by_sigterm():  # noqa: PT012
        try:
            terminate()
        finally:
            time.sleep(0.5)
            cleaned = True
    assert cleaned


def test_a_request_to_a_forked_child_is_none_to_its_parent() -> None:
    script = """
import os, signal, time
from nofrost import stopping
stopping.MAIN_THREAD_GRACE_S = 0.1
with stopping.stopped_by_sigterm():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    time.sleep(0.5)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")


def test_a_process_that_hangs_outside_of_python_ends_after_a_while() -> None:
    script = """
import ctypes, os, signal, threading
from nofrost import stopping
stopping.MAIN_THREAD_GRACE_S = 0.2
with stopping.stopped_by_sigterm():
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    lock(mutex)  # for ever
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (143, "nofrost: stopped: run the same command again\n")
