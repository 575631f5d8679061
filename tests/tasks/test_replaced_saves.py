"""What remains of saves in the store: the two newest, nothing of a work that is done, and what gc takes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.files import write_bytes
from nofrost.store import Ref, Store, verify
from nofrost.store.local import LocalStore
from nofrost.store.local_file import LocalFile
from nofrost.tasks import saves
from nofrost.tasks.stored_saves import POINTER, sweep_saves
from tests.tasks.small_work import WAIT_S, failing_work_in, in_the_store, store_in, wait_for_save, wait_until, work_in


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return store_in(tmp_path / "store", monkeypatch)


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
    assert "begins from scratch" not in capsys.readouterr().err


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
