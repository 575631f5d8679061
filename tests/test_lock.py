"""One process at a time writes a folder; what a dead one left is taken over, and a second one learns who it is."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.files import write_text
from nofrost.lock import folder_lock, is_written_in
from tests.child_process import running

HOLDER = """
import os, sys, time
from pathlib import Path
from nofrost.lock import folder_lock
sys.argv = ["/usr/bin/nofrost", "train", "--out", "secret"]
with folder_lock(Path(ARGUMENT)):
    if FORK and os.fork():
        os.kill(os.getpid(), 9)
    print(f"held by {os.getpid()}", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(target: Path, *, fork: bool = False) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a process that holds the lock, or whose child does; yield it, and the id of the one that does."""
    script = HOLDER.replace("ARGUMENT", repr(str(target))).replace("FORK", str(fork))
    with running([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        pid = int(process.stdout.readline().removeprefix("held by "))
        try:
            yield process, pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_refused_and_learns_which_is_the_first(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with holder(out) as (process, _):
        sentence = rf"out is being written by process {process.pid} \(nofrost train\): wait for it, or choose another"
        with pytest.raises(UserError, match=sentence), folder_lock(out):
            pytest.fail("it is locked")
        assert is_written_in(out.parent)
    assert left(out.parent) == [".out.nofrost-lock"]
    assert not is_written_in(out.parent)
    with folder_lock(out):
        assert json.loads((out.parent / ".out.nofrost-lock").read_text())["pid"] == os.getpid()
    assert left(out.parent) == []


def test_a_child_that_outlives_the_process_still_holds_the_lock(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with holder(out, fork=True) as (process, child):
        assert process.wait() == -signal.SIGKILL
        with pytest.raises(UserError, match=f"by process {process.pid} "), folder_lock(out):
            pytest.fail("it is locked")
        os.kill(child, signal.SIGKILL)
        with folder_lock(out, wait=True):
            pass


def test_who_waits_gets_the_lock_and_says_for_whom_it_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    order: list[str] = []

    def second() -> None:
        with folder_lock(out, wait=True):
            order.append("second")

    with folder_lock(out):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert f"out is being written by process {os.getpid()}" in capsys.readouterr().err
    assert left(tmp_path) == []


def test_many_that_wait_come_one_after_another(tmp_path: Path) -> None:
    out, inside, most = tmp_path / "out", [], []

    def work() -> None:
        for _ in range(20):
            with folder_lock(out, wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80
    assert left(tmp_path) == []


def test_a_users_files_of_similar_names_stay(tmp_path: Path) -> None:
    names = ("out.lock", ".out.lock", "out.partial", "out.earlier", "out.pull.partial", "out.shards", "out.weights")
    for name in names:
        write_text(tmp_path / name, "mine")
    with folder_lock(tmp_path / "out"):
        pass
    assert {name: (tmp_path / name).read_text() for name in names} == dict.fromkeys(names, "mine")


def test_a_disk_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock(tmp_path / "out"):
        write_text(tmp_path / "file", "text")
        assert is_written_in(tmp_path)
    assert not is_written_in(tmp_path)
    assert "knows no locks: let no other process write there" in capsys.readouterr().err
    assert left(tmp_path) == ["file"]


def test_a_lock_that_another_user_left_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, system_open = tmp_path / ".out.nofrost-lock", os.open

    def refuse(name: Path, flags: int, mode: int = 0o777) -> int:
        if name == path and flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(name))
        return system_open(name, flags, mode)

    path.write_text("left")
    monkeypatch.setattr(os, "open", refuse)
    assert not is_written_in(tmp_path)
    with folder_lock(tmp_path / "out"):
        assert is_written_in(tmp_path)
        with pytest.raises(UserError, match="out is being written by"), folder_lock(tmp_path / "out"):
            pytest.fail("it is locked")
    assert left(tmp_path) == []
    with pytest.raises(PermissionError), folder_lock(tmp_path / "out"):
        pytest.fail("no lock can be made")


def test_an_error_in_the_block_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_lock(tmp_path / "out"):
        raise KeyError
    assert left(tmp_path) == []
