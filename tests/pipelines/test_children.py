"""What a local run has started ends with it: on SIGTERM, on Ctrl-C once and twice, and when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from nofrost.errors import StoppedError
from pipelines import watchdog
from pipelines.children import Children
from tests.child_process import running

ROOT = Path(__file__).parents[2]
# A task is a shell whose child takes a moment to save after SIGTERM, or does not end before long.
TASK = """
import signal, sys, time
def save(*_):
    time.sleep(float(sys.argv[1]))
    open("saved", "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
open("begun", "w").close()
time.sleep(250)
"""
RUN = """
import os, sys
from pathlib import Path
from nofrost.errors import ReportedError
from pipelines.children import Children

children = Children(lambda line: print(line, flush=True), secrets=[Path("secret").absolute()])
command = ["sh", "-c", '"$0" "$@"; exit 5', sys.executable, "-c", sys.argv[1], sys.argv[2]]
try:
    with children, open("log", "wb") as log:
        children.run("train", command, log, os.environ)
        if children.may_begin(closing=True):
            children.run("finish", ["sh", "-c", "sleep 1; touch noted"], log, os.environ, closing=True)
    children.raise_if_stopped()
except KeyboardInterrupt:
    sys.exit(130)
except ReportedError as error:
    error.exit()
"""


@contextmanager
def start(folder: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start a run with a secret, whose task takes so long to save, and wait until the task has begun."""
    (folder / "secret").write_text("password")
    with running(
        [sys.executable, "-c", RUN, TASK, str(seconds)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'components'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until((folder / "begun").exists)
        yield process


def wait_until(condition: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(folder: Path) -> bool:
    """Whether a process of the task is left, which has its files in `folder`."""
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.resolve() == folder.resolve() and path.parent.name != str(os.getpid()):
                return True
        except OSError:
            continue
    return False


def sleeping(folder: Path) -> list[str]:
    """A task that writes the file ``begun`` and sleeps."""
    return ["sh", "-c", 'touch "$0"; exec sleep 250', str(folder / "begun")]


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_what_it_waits_for_and_lets_it_save(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    with start(tmp_path, 1) as run:
        run.send_signal(number)
        output, _ = run.communicate(timeout=120)
    assert run.returncode == code
    assert "waiting for train" in output
    assert (tmp_path / "saved").exists(), "the run waits for more than the shell"
    assert (tmp_path / "noted").exists(), "the closing task runs"
    assert not (tmp_path / "secret").exists()
    assert not lives(tmp_path)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with start(tmp_path, 240) as run:
        run.send_signal(signal.SIGINT)
        assert run.stdout
        assert "again ends at once" in run.stdout.readline()
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=120)
    assert run.returncode == 130
    assert not (tmp_path / "saved").exists()
    assert not (tmp_path / "noted").exists()
    wait_until(lambda: not lives(tmp_path))


def test_a_signal_that_comes_while_a_line_is_printed_stops_the_tasks(tmp_path: Path) -> None:
    def say(line: str) -> None:
        raise RuntimeError("reentrant call")

    with Children(say) as children, (tmp_path / "log").open("wb") as log:
        threading.Thread(target=lambda: (wait_until((tmp_path / "begun").exists), stop())).start()
        assert children.run("train", sleeping(tmp_path), log, os.environ) == -signal.SIGTERM
    with pytest.raises(StoppedError):
        children.raise_if_stopped()


def test_a_second_signal_ends_also_the_closing_task(tmp_path: Path) -> None:
    lines: list[str] = []

    def stop_twice() -> None:
        # Begun and noted: a signal between the two is told without the name of the task.
        wait_until(lambda: children._tasks)
        stop()
        wait_until(lambda: lines)
        stop()

    with Children(lines.append) as children, (tmp_path / "log").open("wb") as log:
        threading.Thread(target=stop_twice).start()
        assert children.run("finish", ["sleep", "250"], log, os.environ, closing=True) == -signal.SIGKILL
        assert not children.may_begin(closing=True)
    assert len(lines) == 1
    assert "waiting for finish" in lines[0]


def test_tasks_of_a_killed_run_save_and_end(tmp_path: Path) -> None:
    with start(tmp_path, 0.5) as run:
        run.kill()
        # It ends when nothing holds its output any more.
        run.communicate(timeout=120)
    wait_until(lambda: not lives(tmp_path))
    assert (tmp_path / "saved").exists()
    wait_until(lambda: not (tmp_path / "secret").exists())


def test_a_task_that_does_not_end_is_killed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ignoring = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
    )
    monkeypatch.setattr(watchdog, "SAVE_GRACE_S", 0.3)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with running([sys.executable, "-c", ignoring], stdout=subprocess.PIPE, start_new_session=True, text=True) as task:
        assert task.stdout
        assert task.stdout.readline() == "1\n"
        assert watchdog.has_living(task.pid)
        monkeypatch.setattr(sys, "stdin", [f"+ group {task.pid}\n", "+ group 999999\n", "- group 999999\n"])
        (tmp_path / "secret").touch()
        watchdog.main([str(tmp_path / "secret"), str(tmp_path / "absent")])
        assert not (tmp_path / "secret").exists()
        assert task.wait(90) == -signal.SIGKILL
        assert not watchdog.has_living(task.pid)


def test_containers_that_have_ended_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    docker = pytest.importorskip("docker")
    states = iter(["running", "running", "exited"])
    client = MagicMock()
    client.containers.get.side_effect = lambda _: MagicMock(status=next(states))
    monkeypatch.setattr(docker, "from_env", lambda: client)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(watchdog, "send", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", ["+ container c\n"])
    watchdog.main()
    assert not list(states)
    client.containers.get.side_effect = docker.errors.NotFound("gone")
    assert not watchdog.is_running("c")
    client.containers.get.side_effect = docker.errors.DockerException("no answer")
    assert watchdog.is_running("c")
