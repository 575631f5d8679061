"""SIGTERM ends every command with a word and 143, and leaves nothing half done; a stage of DVC ends with DVC."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nofrost.tasks.local_processes import exit_on_error

# A command that writes when it has begun; with "again" it does not end at once.
COMMAND = """
import sys, time, click
from nofrost.cli import main

@click.command()
def slow():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
        if sys.argv[1:] == ["again"]:
            time.sleep(60)

command, sys.argv = sys.argv[1:], sys.argv[:1]
sys.argv += command
slow.params = [click.Argument(["ignored"], nargs=-1, expose_value=False)]
main(slow)
"""


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_is_said_and_ends_a_command_in_order() -> None:
    with start() as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (143, "cleaned up\n")
    assert errors.startswith("nofrost: stopped: ")
    assert errors.count("\n") == 1


def test_sigterm_again_ends_it_at_once() -> None:
    with start("again") as process:
        assert process.stdout
        for line in ("begun\n", "cleaned up\n"):
            assert process.stdout.readline() == line
            process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_task_ends_with_143_and_handlers_are_restored(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    @exit_on_error
    def task() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    with pytest.raises(SystemExit) as end:
        task()
    assert end.value.code == 143
    assert capsys.readouterr().err.startswith("nofrost: stopped: ")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_stage_ends_when_dvc_is_killed(tmp_path: Path) -> None:
    """DVC leaves the stage that it runs behind, which would go on writing and hold the lock of its output."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", script, COMMAND],
        env={**os.environ, "DVC_STAGE": "train"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as dvc:
        assert dvc.stdout
        assert dvc.stdout.readline() == "begun\n"
        dvc.kill()
        # These end once the stage has closed them.
        output, errors = dvc.communicate(timeout=30)
    assert output == "cleaned up\n"
    assert errors.startswith("nofrost: stopped: ")
