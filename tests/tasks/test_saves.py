"""Saves are published when they are made, whole or not at all, and the next try goes on from the newest."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.files import write_bytes
from nofrost.store import Store
from nofrost.store.local import LocalStore
from nofrost.store.local_file import LocalFile
from nofrost.tasks import saves
from nofrost.tasks.stored_saves import POINTER
from tests.tasks.small_work import WAIT_S, failing_work_in, in_the_store, store_in, wait_for_save, wait_until, work_in


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return store_in(tmp_path / "store", monkeypatch)


def test_the_last_save_of_a_try_that_fails_is_restored_in_another_workspace(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stopped here"), work_in(tmp_path / "one", store) as work:
        work.save_and_fail(b"half")
    assert in_the_store(store, tmp_path) == b"half"
    assert in_the_store(store, tmp_path, "another configuration") is None


def test_each_save_is_published_while_the_work_goes_on(store: Store, tmp_path: Path) -> None:
    """A process that is killed cannot publish anything any more."""
    with work_in(tmp_path / "one", store) as work:
        for number in range(3):
            work.save(b"%d" % number)
            wait_for_save(b"%d" % number, store, tmp_path)


def test_a_store_that_takes_long_does_not_hold_up_the_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, proceed, put_file = threading.Event(), threading.Event(), LocalStore.put_file

    def slow(self: LocalStore, file: LocalFile, jobs: int = 1) -> None:
        begun.set()
        assert proceed.wait(WAIT_S)
        put_file(self, file, jobs)

    monkeypatch.setattr(LocalStore, "put_file", slow)
    with work_in(tmp_path / "one", store) as work:
        work.save(b"first")
        assert begun.wait(WAIT_S)
        # The first save, which is being sent, is deleted by these.
        for number in range(5):
            work.save(b"later %d" % number)
        assert not store.names("nofrost/")
        proceed.set()
        wait_until(lambda: in_the_store(store, tmp_path) == b"later 4")


def test_files_of_the_save_before_are_not_sent_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put_file = LocalStore.put_file

    def counted(self: LocalStore, file: LocalFile, jobs: int = 1) -> None:
        sent.append(file.path.name)
        put_file(self, file, jobs)

    monkeypatch.setattr(LocalStore, "put_file", counted)
    with failing_work_in(tmp_path / "one", store) as work:
        for number in range(2):
            write_bytes(work.partial / f"{number}.npz", b"values %d" % number)
            work.save(b"state")
            wait_until(lambda number=number: f"{number}.npz" in sent)  # type: ignore[misc]
    with work_in(tmp_path / "two", store) as work:
        write_bytes(work.partial / "2.npz", b"values 2")
        wait_until(lambda: "2.npz" in sent)
    assert len(sent) == len(set(sent))


def test_no_torn_save_is_ever_in_the_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage saves once more, and so deletes the save before, in the middle of each snapshot."""
    put, link = LocalStore.put, saves._link
    published: list[bytes | str | None] = []
    pending = threading.Event()

    def look(self: LocalStore, name: str, content: bytes) -> None:
        put(self, name, content)
        if name == POINTER:
            try:
                published.append(in_the_store(store, tmp_path))
            except AssertionError:
                published.append("torn")

    def save_in_between(path: Path, target: Path) -> None:
        link(path, target)
        if pending.is_set() and len(path.name) == 64:
            work.save(b"between %d" % number)
            pending.clear()

    monkeypatch.setattr(LocalStore, "put", look)
    monkeypatch.setattr(saves, "_link", save_in_between)
    with work_in(tmp_path / "one", store) as work:
        # The order in which files are linked differs from round to round.
        for number in range(20):
            pending.set()
            work.save(b"%d" % number)
            wait_until(lambda: not pending.is_set() and published[-1:] == [work.saved()])
    assert "torn" not in published


def test_a_kill_before_the_pointer_is_written_leaves_the_save_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kill has to hit the end of the try, not the thread.
    monkeypatch.setattr(saves, "POLL_S", WAIT_S)
    put = LocalStore.put

    def killed(self: LocalStore, name: str, content: bytes) -> None:
        if name == POINTER and self.names("") and not is_first:
            raise KeyboardInterrupt
        put(self, name, content)

    monkeypatch.setattr(LocalStore, "put", killed)
    is_first = True
    with pytest.raises(UserError), work_in(tmp_path / "one", store) as work:
        work.save_and_fail(b"first")
    is_first = False
    with pytest.raises(KeyboardInterrupt), work_in(tmp_path / "two", store) as work:
        work.save_and_fail(b"second")
    assert in_the_store(store, tmp_path) == b"first"


def test_an_error_of_the_store_is_said_once_and_the_save_is_published_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, put_file = threading.Semaphore(0), LocalStore.put_file

    def refuse(self: LocalStore, file: LocalFile, jobs: int = 1) -> None:
        asked.release()
        raise UserError("the store is full")

    monkeypatch.setattr(LocalStore, "put_file", refuse)
    with work_in(tmp_path / "one", store) as work:
        work.save(b"half")
        # Each try sends two files in threads, the first of which ends it.
        for _ in range(8):
            assert asked.acquire(timeout=WAIT_S)
        monkeypatch.setattr(LocalStore, "put_file", put_file)
        wait_until(lambda: in_the_store(store, tmp_path) == b"half")
    lines = [line for line in capsys.readouterr().err.splitlines() if "the store is full" in line]
    assert len(lines) == 1


def test_a_store_that_does_not_answer_ends_the_task_before_the_work_begins_anew(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: LocalStore, name: str) -> bytes:
        raise UserError("it cannot be reached")

    monkeypatch.setattr(LocalStore, "get", unreachable)
    with pytest.raises(UserError, match="cannot be reached"), work_in(tmp_path / "one", store):
        pytest.fail("a save may be there")


@pytest.mark.parametrize("damage", ["missing", "altered", "pointer"])
def test_a_save_that_is_not_whole_in_the_store_is_said_and_the_work_begins_anew(
    damage: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError), work_in(tmp_path / "one", store) as work:
        work.save_and_fail(b"half")
    for name in store.names("nofrost/unfinished/"):
        path = tmp_path / "store" / name
        if path.name == POINTER and damage == "pointer":
            path.write_text("?")
        if path.name != POINTER and damage == "missing":
            path.unlink()
        if path.name != POINTER and damage == "altered":
            path.chmod(0o644)
            path.write_bytes(b"?" * path.stat().st_size)
    assert in_the_store(store, tmp_path) is None
    assert "the work begins from scratch" in capsys.readouterr().err


def test_an_output_that_is_being_completed_is_no_save(store: Store, tmp_path: Path) -> None:
    with work_in(tmp_path / "one", store) as work:
        work.save(b"whole", fingerprint=False)
        time.sleep(0.2)
    assert not store.names("nofrost/")
