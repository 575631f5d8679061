"""Saves are published when they are made, whole or not at all, and the next try goes on from the newest."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.files import write_bytes, write_json
from nofrost.store import Ref, Store, open_store, verify
from nofrost.store.local import LocalStore
from nofrost.store.local_file import LocalFile
from nofrost.tasks import saves
from nofrost.tasks.saves import checkpointed_in_store
from nofrost.tasks.stored_saves import POINTER, sweep_saves

WAIT_S = 60


class Work:
    """A resumable stage: a save is a file named after its content, and a pointer to it that is written last."""

    def __init__(self, out: Path) -> None:
        self.partial = out.with_name(f".{out.name}.nofrost-partial")
        self.saving = threading.Lock()

    @property
    def pointer(self) -> Path:
        return self.partial / "unfinished" / "state.json"

    def save(self, content: bytes, *, fingerprint: bool = True) -> None:
        with self.saving:
            if fingerprint:
                write_json(self.partial / "unfinished/fingerprint.json", {"recipe": "st"})
            name = hashlib.sha256(content).hexdigest()
            write_bytes(self.pointer.with_name(name), content)
            write_json(self.pointer, {"file": name})
            for path in self.pointer.parent.iterdir():
                if path.name not in (name, "state.json", "fingerprint.json"):
                    path.unlink()

    def save_and_fail(self, content: bytes) -> None:
        self.save(content)
        raise UserError("stopped here")

    def saved(self) -> bytes | None:
        """Return what was saved, None if nothing was; an AssertionError if it is not whole."""
        if not self.pointer.is_file():
            return None
        name = json.loads(self.pointer.read_text())["file"]
        assert self.pointer.with_name(name).is_file()
        content = self.pointer.with_name(name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == name
        return content


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(saves, "POLL_S", 0.01)
    monkeypatch.setattr(saves, "save_interval_s", lambda: 0.4)
    (tmp_path / "store").mkdir()
    return open_store(str(tmp_path / "store"))


@contextmanager
def work_in(folder: Path, store: Store, config: str = "config") -> Iterator[Work]:
    with checkpointed_in_store(folder / "out", [config], store):
        yield Work(folder / "out")


@contextmanager
def failing_work_in(folder: Path, store: Store, config: str = "config") -> Iterator[Work]:
    """A try that ends with an error after the block."""
    with suppress(UserError), work_in(folder, store, config) as work:
        yield work
        raise UserError("stopped here")


def in_the_store(store: Store, tmp_path: Path, config: str = "config") -> bytes | None:
    """What a try that began now, elsewhere, would go on from."""
    with failing_work_in(Path(tempfile.mkdtemp(dir=tmp_path)), store, config) as work:
        return work.saved()


def wait_for_save(content: bytes, store: Store, tmp_path: Path) -> None:
    wait_until(lambda: in_the_store(store, tmp_path) == content)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


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
    assert "the work begins anew" in capsys.readouterr().err


def test_an_output_that_is_being_completed_is_no_save(store: Store, tmp_path: Path) -> None:
    with work_in(tmp_path / "one", store) as work:
        work.save(b"whole", fingerprint=False)
        time.sleep(0.2)
    assert not store.names("nofrost/")


def object_names(store: Store) -> list[str]:
    return list(store.objects("nofrost/unfinished/"))


def contents(store: Store) -> set[bytes]:
    return {(Path(store.url) / name).read_bytes() for name in object_names(store)}


def check_newest_is_whole(store: Store) -> None:
    """Read all files of the newest save of the only work in the store."""
    (key,) = {name.split("/")[2] for name in object_names(store)}
    saved = store.below(f"nofrost/unfinished/{key}")
    verify(Ref.parse(saved.get(POINTER).decode()), saved)


# The objects of a save: its state, the pointer to that and the list of files are its own; the fingerprint and the
# pointer to the save are those of all.
OWN, COMMON = 3, 2


def test_at_most_the_two_newest_saves_are_in_the_store(store: Store, tmp_path: Path) -> None:
    with failing_work_in(tmp_path / "one", store) as work:
        for number in range(5):
            work.save(b"%d" % number)
            wait_for_save(b"%d" % number, store, tmp_path)
            expected = COMMON + OWN * min(2, number + 1)
            wait_until(lambda expected=expected: len(object_names(store)) == expected)  # type: ignore[misc]
        assert {b"3", b"4"} < contents(store)
    # Another try deletes what it has restored when it has replaced that twice.
    with failing_work_in(tmp_path / "two", store) as work:
        for text in (b"once", b"twice"):
            work.save(text)
            wait_for_save(text, store, tmp_path)
        wait_until(lambda: b"4" not in contents(store))


def test_what_was_sent_for_a_save_that_was_not_published_is_deleted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalStore, name: str, content: bytes) -> None:
        raise UserError("the store is full")

    with failing_work_in(tmp_path / "one", store) as work:
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "put", refuse)
            work.save(b"sent")
            wait_until(lambda: b"sent" in contents(store))
            work.save(b"sent too")
            wait_until(lambda: b"sent too" in contents(store))
        work.save(b"published")
        wait_for_save(b"published", store, tmp_path)
        wait_until(lambda: b"sent" not in contents(store))


def test_a_save_that_cannot_be_deleted_is_no_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: LocalStore, names: Iterable[str]) -> None:
        raise UserError("s3:DeleteObject is not allowed")

    monkeypatch.setattr(LocalStore, "delete", refuse)
    with work_in(tmp_path / "one", store) as work:
        for number in range(4):
            work.save(b"%d" % number)
            wait_for_save(b"%d" % number, store, tmp_path)
    assert len(object_names(store)) == COMMON + 4 * OWN
    assert "not allowed" not in capsys.readouterr().err


def test_a_twin_that_deletes_files_of_this_task_does_not_tear_its_saves(store: Store, tmp_path: Path) -> None:
    """The twin sent a file, this task restored it; the twin needs it no more, this task does."""
    with failing_work_in(tmp_path / "lost", store) as twin:
        write_bytes(twin.partial / "both.npz", b"values")
        twin.save(b"begun")
        wait_for_save(b"begun", store, tmp_path)
        with failing_work_in(tmp_path / "here", store) as work:
            assert work.saved() == b"begun"
            (twin.partial / "both.npz").unlink()
            for number in range(3):
                twin.save(b"twin %d" % number)
                wait_for_save(b"twin %d" % number, store, tmp_path)
            wait_until(lambda: b"values" not in contents(store))
            for number in range(3):
                work.save(b"here %d" % number)
                wait_for_save(b"here %d" % number, store, tmp_path)
                check_newest_is_whole(store)
                assert b"values" in contents(store)
                twin.save(b"twin again %d" % number)
                wait_for_save(b"twin again %d" % number, store, tmp_path)
                check_newest_is_whole(store)
        check_newest_is_whole(store)


def test_a_file_that_this_task_published_and_the_store_lost_is_sent_again(store: Store, tmp_path: Path) -> None:
    with failing_work_in(tmp_path / "here", store) as work:
        write_bytes(work.partial / "old.npz", b"values")
        work.save(b"begun")
        wait_for_save(b"begun", store, tmp_path)
        # What a twin that ends its work does.
        store.delete(object_names(store))
        work.save(b"more")
        wait_for_save(b"more", store, tmp_path)
        check_newest_is_whole(store)
        assert b"values" in contents(store)


def test_a_save_that_a_twin_replaces_while_it_is_restored_gives_way_to_the_newer_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pull = saves.pull
    with failing_work_in(tmp_path / "lost", store) as twin:
        twin.save(b"old")
        wait_for_save(b"old", store, tmp_path)

        def late(ref: Ref, path: Path, source: Store) -> None:
            monkeypatch.setattr(saves, "pull", pull)
            for content in (b"newer", b"newest"):
                twin.save(content)
                wait_for_save(content, store, tmp_path)
            wait_until(lambda: not source.sizes([ref.md5]))
            pull(ref, path, source)

        monkeypatch.setattr(saves, "pull", late)
        assert in_the_store(store, tmp_path) == b"newest"
    assert "begins anew" not in capsys.readouterr().err


def test_a_work_that_is_killed_twice_and_then_done_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kill has to hit the end of the try, not the thread.
    monkeypatch.setattr(saves, "POLL_S", WAIT_S)
    put_file = LocalStore.put_file

    def killed(self: LocalStore, file: LocalFile, jobs: int = 1) -> None:
        put_file(self, file, jobs)
        raise KeyboardInterrupt

    for number in range(2):
        with failing_work_in(tmp_path / f"whole-{number}", store) as work:
            work.save(b"whole %d" % number)
        # Of these saves only files are in the store: no list of them, no pointer.
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "put_file", killed)
            with pytest.raises(KeyboardInterrupt), work_in(tmp_path / f"half-{number}", store) as work:
                work.save_and_fail(b"half sent %d" % number)
    with failing_work_in(tmp_path / "other", store, "another configuration") as work:
        work.save(b"other")
    with work_in(tmp_path / "last", store) as work:
        assert work.saved() == b"whole 1"
        work.save(b"done")
    assert in_the_store(store, tmp_path) is None
    assert in_the_store(store, tmp_path, "another configuration") == b"other"
    assert len(object_names(store)) == COMMON + OWN


def test_gc_finds_what_newer_saves_replaced_and_keeps_the_newest(store: Store, tmp_path: Path) -> None:
    for number in range(2):
        with pytest.raises(UserError), work_in(tmp_path / f"try-{number}", store) as work:
            work.save_and_fail(b"save %d" % number)
    replaced = sweep_saves(store, 3600, delete=True)
    # Its state, the pointer to that, and the list of its files.
    assert len(replaced) == 3
    assert not any(leftover.is_dead for leftover in replaced)
    assert sweep_saves(store, 0, delete=False) == sweep_saves(store, 0, delete=True)
    assert not sweep_saves(store, 0, delete=True)
    assert in_the_store(store, tmp_path) == b"save 1"


def test_gc_takes_the_newest_save_of_a_work_that_nobody_goes_on_with(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError), work_in(tmp_path / "one", store) as work:
        work.save_and_fail(b"half")
    names = store.names("nofrost/unfinished/")
    for days, count in ((29, 0), (31, len(names))):
        then = time.time() - days * 24 * 3600
        for name in names:
            os.utime(tmp_path / "store" / name, (then, then))
        assert len(sweep_saves(store, 3600, delete=True)) == count
    assert not store.names("nofrost/unfinished/")
