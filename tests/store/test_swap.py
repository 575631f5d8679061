"""Compare-and-swap: of several writers one succeeds, on every kind of store, and also without conditional writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.errors import UnavailableError, UserError
from nofrost.store import Store, SwapError, claims, open_store
from nofrost.store.claims import swap_by_claim
from nofrost.store.local import LocalStore

NAME = "nofrost/one/object"
WRITERS = 16


def test_a_swap_takes_the_version_that_was_read_and_no_other(store: Store) -> None:
    assert store.version(NAME) is None
    first = store.swap(NAME, b"first", None)
    assert store.version(NAME) == (b"first", first)
    for expected in (None, "0" * 32):
        with pytest.raises(SwapError, match=NAME):
            store.swap(NAME, b"other", expected)
    second = store.swap(NAME, b"second", first)
    assert second != first
    with pytest.raises(SwapError):
        store.swap(NAME, b"other", first)
    assert store.version(NAME) == (b"second", second)
    assert store.get(NAME) == b"second"


def test_a_swap_expects_an_object_that_is_there(store: Store) -> None:
    tag = store.swap(NAME, b"first", None)
    store.delete([NAME])
    with pytest.raises(SwapError):
        store.swap(NAME, b"second", tag)
    assert store.version(NAME) is None


def test_what_is_there_already_counts_as_written(store: Store) -> None:
    tag = store.swap(NAME, b"first", None)
    assert store.swap(NAME, b"first", None) == tag


def test_a_version_that_put_wrote_can_be_swapped(store: Store) -> None:
    store.put(NAME, b"put")
    version = store.version(NAME)
    assert version is not None
    store.swap(NAME, b"swapped", version.tag)
    store.put(NAME, b"put again")
    with pytest.raises(SwapError):
        store.swap(NAME, b"late", version.tag)


def test_a_swap_leaves_nothing_else_behind(store: Store) -> None:
    store.swap(NAME, b"second", store.swap(NAME, b"first", None))
    assert store.names("") == [NAME]


def test_names_outside_of_the_store_are_refused(store: Store) -> None:
    for call in (lambda: store.swap("../x", b"", None), lambda: store.version("../x")):
        with pytest.raises(UserError, match=r"\.\./x"):
            call()


def together(swaps: list[Callable[[], str]]) -> list[str]:
    """Call all at once and return the tags of those that succeeded."""
    barrier, tags = threading.Barrier(len(swaps)), []
    errors: list[Exception] = []

    def run(swap: Callable[[], str]) -> None:
        barrier.wait()
        try:
            tags.append(swap())
        except SwapError:
            return
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(swap,)) for swap in swaps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    return tags


def test_one_of_many_writers_succeeds(url: str) -> None:
    stores = [open_store(url) for _ in range(2)]
    for store in stores:
        assert store.obeys_conditions()
    tag = None
    for turn in range(3):
        swaps = [
            lambda store=store, text=f"{turn} {number}", tag=tag: store.swap(NAME, text.encode(), tag)
            for number, store in enumerate(stores * (WRITERS // 2))
        ]
        tags = together(swaps)
        version = stores[0].version(NAME)
        assert version is not None
        assert tags == [version.tag]
        tag = version.tag


def test_one_of_many_writers_succeeds_without_conditions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_PAUSE_S", 0.2)
    stores = [open_store(url) for _ in range(2)]
    swaps = [
        lambda store=store, number=number: swap_by_claim(store, NAME, f"{number}".encode(), None)
        for number, store in enumerate(stores * (WRITERS // 4))
    ]
    tags = together(swaps)
    version = stores[0].version(NAME)
    assert version is not None
    assert tags == [version.tag]
    assert stores[0].names("") == [NAME]


def test_the_claim_of_a_killed_process_is_passed_over_after_a_while(
    local_store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(claims, "_PAUSE_S", 0.1)
    dead = f"nofrost/claims/{NAME}/dead"
    local_store.put(dead, b"")
    with pytest.raises(UnavailableError, match=NAME):
        swap_by_claim(local_store, NAME, b"content", None)
    assert local_store.names("") == [dead]
    before = time.time() - 2 * claims._LIFE_S
    os.utime(local_store.folder / dead, (before, before))
    swap_by_claim(local_store, NAME, b"content", None)
    assert local_store.get(NAME) == b"content"
    assert local_store.names("") == [NAME]


def test_a_claim_that_may_have_been_passed_over_is_not_used(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_USE_S", 0.0)
    monkeypatch.setattr(claims, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(claims, "_PAUSE_S", 0.01)
    with pytest.raises(UnavailableError):
        swap_by_claim(local_store, NAME, b"content", None)
    assert local_store.names("") == []


def test_the_lock_of_a_killed_process_in_a_folder_is_no_object(local_store: LocalStore, tmp_path: Path) -> None:
    local_store.swap(NAME, b"first", None)
    lock = local_store.folder / "nofrost/one/.object.nofrost-lock"
    lock.touch()
    assert local_store.names("nofrost/") == [NAME]
    local_store.swap(NAME, b"second", local_store.swap(NAME, b"first", None))
    assert not lock.exists()
