"""As the first process of a container, nofrost passes signals on, and leaves no zombies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.child_process import running

HEAD = "import os, signal, subprocess, sys, time; from nofrost.first_process import run_under_init; run_under_init(); "
NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_be_first() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


needs_namespaces = pytest.mark.skipif(not can_be_first(), reason="needs the right to make a PID namespace")


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NAMESPACE, sys.executable, "-c", HEAD + script], capture_output=True, text=True, check=False, timeout=60
    )


@needs_namespaces
@pytest.mark.parametrize(
    ("script", "code"),
    [("pass", 0), ("sys.exit(2)", 2), ("sys.exit(200)", 200), ("os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
def test_it_ends_as_the_command_does(script: str, code: int) -> None:
    done = run(f"print(os.getpid() > 1, os.getppid(), flush=True); {script}")
    assert (done.stdout, done.stderr) == ("True 1\n", "")
    assert done.returncode == code


@needs_namespaces
def test_processes_that_others_leave_behind_are_waited_for() -> None:
    # The shell ends before its child, which then belongs to process 1.
    done = run(
        "subprocess.run(['sh', '-c', 'true & sleep 0.1 & true']); time.sleep(0.5); "
        "print([each for each in os.listdir('/proc') if each.isdigit()])"
    )
    assert done.stdout == "['1', '2']\n", done.stderr


@needs_namespaces
def test_sigterm_reaches_the_command() -> None:
    # In short sleeps: a signal that comes just before a long one would wait for its end.
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); print('ready', flush=True)\n"
    handler += "while True: time.sleep(0.05)"
    with running([*NAMESPACE, sys.executable, "-c", HEAD + handler], stdout=subprocess.PIPE, text=True) as top:
        assert top.stdout
        assert top.stdout.readline() == "ready\n"
        # unshare waits, and its only child is the first process of the namespace.
        deadline = time.monotonic() + 10
        while not (children := Path(f"/proc/{top.pid}/task/{top.pid}/children").read_text().split()):
            assert time.monotonic() < deadline
        os.kill(int(children[0]), signal.SIGTERM)
        assert top.wait(timeout=120) == 143


def test_any_other_process_goes_on_by_itself() -> None:
    script = HEAD.replace("run_under_init(); ", "before = os.getpid(); run_under_init(); ")
    done = subprocess.run(
        [sys.executable, "-c", f"{script}print(os.getpid() == before)"], capture_output=True, text=True
    )
    assert done.stdout == "True\n"


def test_it_comes_before_what_is_slow_to_load() -> None:
    script = """
import os, runpy, sys
os.getpid = lambda: 1
def fork():
    print([name for name in ("click", "torch", "nofrost.cli") if name in sys.modules], flush=True)
    os._exit(0)
os.fork = fork
runpy.run_module("nofrost", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_installed_command_begins_in_the_same_way() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"]["nofrost"] == "nofrost.__main__:main"
