"""Data releases: the newest data of a name, all of it in the store."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import MissingError, Pointer, Ref, Store, SwapError, push, release_data, release_pointer, resolve_ref
from nofrost.store.base import object_name


@pytest.fixture
def refs(store: Store, tmp_path: Path) -> list[Ref]:
    """Two folders that are in the store."""
    refs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        refs.append(push(tmp_path / name, store))
    return refs


def test_the_newest_data_is_what_was_released_last(store: Store, refs: list[Ref]) -> None:
    one, two = refs
    for ref in (one, two, one):
        position, is_new = release_data(store, "photos", ref)
        assert is_new
        assert resolve_ref("latest:photos", store) == ref
    assert release_data(store, "photos", one) == (position, False)
    assert [each.value["ref"] for each in release_pointer(store, "photos").history().positions] == [
        str(one), str(two), str(one)
    ]  # fmt: skip
    assert resolve_ref(str(two), store) == two


def test_names_do_not_share_their_data(store: Store, refs: list[Ref]) -> None:
    for name, ref in zip(("photos", "photos.v2"), refs, strict=True):
        release_data(store, name, ref)
    assert [resolve_ref(f"latest:{name}", store) for name in ("photos", "photos.v2")] == refs


def test_data_that_is_not_all_there_is_not_released(store: Store, refs: list[Ref]) -> None:
    release_data(store, "photos", refs[0])
    missing = Ref.parse("0" * 32 + ".dir")
    with pytest.raises(MissingError, match=missing.md5):
        release_data(store, "photos", missing)
    with pytest.raises(MissingError, match="0" * 32):
        release_data(store, "photos", Ref.parse("0" * 32))
    store.delete(name for name in store.names("files/md5/") if not name.endswith(".dir"))
    with pytest.raises(MissingError):
        release_data(store, "photos", refs[1])
    assert resolve_ref("latest:photos", store) == refs[0]
    assert len(release_pointer(store, "photos").history().positions) == 1


def test_of_two_who_release_at_once_one_is_told(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = []
    for content in (b"a", b"b"):
        local_store.put(object_name(md5_of(content)), content)
        refs.append(Ref(md5_of(content)))
    barrier, told, read = threading.Barrier(2), [], Pointer.read

    def read_together(pointer: Pointer) -> object:
        position = read(pointer)
        barrier.wait(120)
        return position

    monkeypatch.setattr(Pointer, "read", read_together)

    def run(ref: Ref) -> None:
        try:
            release_data(local_store, "photos", ref)
        except SwapError as error:
            told.append(error)

    threads = [threading.Thread(target=run, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 1


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("text", ["", "latest", "latest:", "latest:a/b", "latest:../x", "newest:photos"])
def test_what_is_neither_a_ref_nor_a_name_is_refused(text: str, local_store: Store) -> None:
    with pytest.raises(UserError):
        resolve_ref(text, local_store)


def test_a_name_without_data_is_said_with_the_command_that_releases_some(local_store: Store) -> None:
    with pytest.raises(UserError, match="nofrost data release photos"):
        resolve_ref("latest:photos", local_store)


@pytest.mark.parametrize("value", [{}, {"ref": 1}, {"ref": "none"}])
def test_a_release_that_holds_no_ref_is_refused(value: dict[str, object], local_store: Store) -> None:
    release_pointer(local_store, "photos").move(value, "key", None)
    with pytest.raises(UserError, match="ref"):
        resolve_ref("latest:photos", local_store)
