"""Pull: whole and verified or nothing, and what may be replaced."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import Ref, Store, open_store, pull, push, verify
from nofrost.store.base import object_name
from nofrost.store.local_file import LocalFile

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[str]:
    """The addresses of what is read from the store, in order."""
    calls: list[str] = []
    original = store.read
    monkeypatch.setattr(store, "read", lambda md5: (calls.append(md5), original(md5))[1])
    return calls


def test_a_pulled_folder_equals_the_pushed_one_and_leaves_no_temporary_files(
    store: Store, folder: Path, tmp_path: Path, contents: Contents
) -> None:
    target = tmp_path / "new" / "target" / "data"
    pull(push(folder, store), target, store)
    assert contents(target) == contents(folder)
    assert [path.name for path in target.parent.iterdir()] == ["data"]
    files = [path.stat() for path in target.rglob("*") if path.is_file()]
    assert all(status.st_mode & stat.S_IWUSR and status.st_nlink == 1 for status in files)


def test_a_pulled_file_equals_the_pushed_one(store: Store, folder: Path, tmp_path: Path) -> None:
    pull(push(folder / "larger.bin", store), tmp_path / "new" / "file", store)
    assert (tmp_path / "new" / "file").read_bytes() == (folder / "larger.bin").read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_equal_content_is_left_alone(store: Store, folder: Path, tmp_path: Path, read: list[str]) -> None:
    refs = [push(folder, store), push(folder / "a", store)]
    before = [path.stat().st_mtime_ns for path in (folder, folder / "a")]
    pull(refs[0], folder, store)
    pull(refs[1], folder / "a", store)
    assert read == []
    assert [path.stat().st_mtime_ns for path in (folder, folder / "a")] == before


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_other_content_is_read_once(
    store: Store, folder: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, hashed, original = tmp_path / "target", [], LocalFile.of
    (folder / "record.json").write_text('{"stage": "train", "nofrost": "1"}')
    pull(push(folder, store), target, store)
    (folder / "a").write_bytes(b"changed")
    ref = push(folder, store)
    monkeypatch.setattr(LocalFile, "of", lambda path: (hashed.append(path), original(path))[1])
    pull(ref, target, store)
    assert len([path for path in hashed if path.is_relative_to(target)]) == len(contents(folder))
    assert contents(target) == contents(folder)


@pytest.mark.parametrize("url", ["folder"], indirect=True)
class TestExistingPath:
    """Content at `path` is replaced if a stage made it, else refused."""

    def test_an_output_of_a_stage_is_replaced(
        self, store: Store, folder: Path, tmp_path: Path, contents: Contents
    ) -> None:
        other = push(folder, store)
        (folder / "record.json").write_text('{"stage": "train", "nofrost": "1"}')
        ref = push(folder, store)
        output = tmp_path / "output"
        (output / "sub").mkdir(parents=True)
        (output / "record.json").write_text('{"stage": "train", "nofrost": "0"}')
        (output / "sub/old").write_text("old")
        pull(ref, output, store)
        assert contents(output) == contents(folder)
        with pytest.raises(UserError, match="it is an output of train, and what you pull would replace it"):
            pull(other, output, store)
        assert contents(output) == contents(folder)
        assert not list(tmp_path.glob(".output.*"))

    def test_an_empty_folder_is_replaced(self, store: Store, folder: Path, tmp_path: Path, contents: Contents) -> None:
        (tmp_path / "output").mkdir()
        pull(push(folder, store), tmp_path / "output", store)
        assert contents(tmp_path / "output") == contents(folder)

    def test_a_link_stays_a_link(self, store: Store, folder: Path, tmp_path: Path, contents: Contents) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "output").symlink_to(tmp_path / "disk")
        pull(push(folder, store), tmp_path / "output", store)
        assert (tmp_path / "output").is_symlink()
        assert contents(tmp_path / "disk") == contents(folder)

    @pytest.mark.parametrize("there", ["a file", "a folder", "a broken link's file"])
    def test_anything_else_is_refused_untouched(self, there: str, store: Store, folder: Path, tmp_path: Path) -> None:
        target = tmp_path / "mine"
        mine = target / "thesis.tex" if there == "a folder" else target
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        for ref in (push(folder, store), push(folder / "a", store)):
            with pytest.raises(UserError, match=r"mine: it (is a file|.* not created by a stage): .*remove it"):
                pull(ref, target, store)
        assert mine.read_text() == "mine"
        assert not list(tmp_path.glob(".mine*"))


def test_downloads_of_a_killed_call_are_verified_and_kept(
    store: Store, folder: Path, tmp_path: Path, read: list[str], contents: Contents
) -> None:
    ref = push(folder, store)
    downloads = tmp_path / ".target.nofrost-pull" / "content"
    (downloads / "sub").mkdir(parents=True)
    (downloads / "a").write_bytes((folder / "a").read_bytes())
    (downloads / "larger.bin").write_bytes((folder / "larger.bin").read_bytes()[:-1])
    (downloads / "sub" / "of another ref").write_text("x")
    (downloads / "ünï©ödé-名前-🧊").mkdir()
    (downloads.parent / "incoming").mkdir()
    (downloads.parent / "incoming" / "half").write_text("x")
    pull(ref, tmp_path / "target", store)
    assert contents(tmp_path / "target") == contents(folder)
    assert not list(tmp_path.glob(".target.*"))
    md5s = {name: LocalFile.of(folder / name).md5 for name in contents(folder)}
    assert sorted(read) == sorted({ref.md5, *md5s.values()})  # "a" is kept, its twin is downloaded


def altered(md5: str, store: Store, content: bytes) -> None:
    store.put(object_name(md5), content)


@pytest.mark.parametrize("content", [b"other", b"one", b""], ids=["altered", "cut off", "emptied"])
def test_an_altered_object_is_downloaded_again_and_then_reported(
    store: Store, folder: Path, tmp_path: Path, read: list[str], content: bytes
) -> None:
    ref, bad = push(folder, store), LocalFile.of(folder / "a").md5
    altered(bad, store, content)
    with pytest.raises(UserError, match=rf"object {bad} in .* is altered or cut off: delete it, then push it again"):
        pull(ref, tmp_path / "target", store)
    assert read.count(bad) == 2
    assert not (tmp_path / "target").exists()
    with pytest.raises(UserError, match=rf"of \d+ objects 1 are wrong \({bad} is altered or cut off\)"):
        verify(ref, store)
    altered(bad, store, (folder / "a").read_bytes())
    read.clear()
    pull(ref, tmp_path / "target", store)
    assert read.count(bad) == 1
    verify(ref, store)


@pytest.mark.parametrize("missing", ["a file", "the list"])
def test_a_missing_object_is_reported(store: Store, tmp_path: Path, missing: str) -> None:
    lost = "f" * 32
    listing = json.dumps([{"md5": lost, "relpath": "lost"}]).encode()
    ref = Ref(hashlib.md5(listing).hexdigest() + ".dir")
    if missing == "a file":
        store.put(object_name(ref.md5), listing)
    name = lost if missing == "a file" else ref.md5
    for use in (lambda: pull(ref, tmp_path / "target", store), lambda: verify(ref, store)):
        with pytest.raises(UserError, match=f"{name}"):
            use()
    assert not list(tmp_path.glob("*target*"))


MD5 = "d41d8cd98f00b204e9800998ecf8427e"  # of nothing


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ([{"md5": MD5, "relpath": "../escaped"}], r"lists '\.\./escaped', which is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "a/../../escaped"}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "/tmp/escaped"}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": ""}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "."}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "a//b"}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "a\0b"}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": 5}], "lists 5, which is not a path inside a folder"),
        ([{"md5": MD5, "relpath": ".git/hooks/post-checkout"}], "is not a path inside a folder"),
        ([{"md5": MD5, "relpath": "sub/.dvc/config"}], "is not a path inside a folder"),
        ([{"md5": "../../" + MD5[6:], "relpath": "a"}], "which is not an md5"),
        ([{"md5": None, "relpath": "a"}], "which is not an md5"),
        ([{"md5": MD5, "relpath": "a"}, {"md5": MD5, "relpath": "a"}], "lists two files at one path"),
        ([{"md5": MD5, "relpath": "a"}, {"md5": MD5, "relpath": "a/b"}], "lists two files at one path"),
        ([{"relpath": "a"}], "is not a list of files as DVC writes it"),
        (["a"], "is not a list of files as DVC writes it"),
        ({"md5": MD5}, "is not a list of files as DVC writes it"),
        (None, "is not a list of files as DVC writes it"),
    ],
)
def test_a_listing_with_paths_outside_the_folder_is_refused(
    local_store: Store, tmp_path: Path, listed: Any, sentence: str
) -> None:
    content = json.dumps(listed).encode()
    ref = Ref(hashlib.md5(content).hexdigest() + ".dir")
    local_store.put(object_name(ref.md5), content)
    local_store.put(object_name(MD5), b"")
    for use in (lambda: pull(ref, tmp_path / "target", local_store), lambda: verify(ref, local_store)):
        with pytest.raises(UserError, match=sentence) as caught:
            use()
        assert ref.md5 in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("content", [b"not json", b"\xff\xfe", b"[" * 100_000], ids=["text", "bytes", "deep"])
def test_a_listing_that_is_not_json_is_refused(local_store: Store, tmp_path: Path, content: bytes) -> None:
    ref = Ref(hashlib.md5(content).hexdigest() + ".dir")
    local_store.put(object_name(ref.md5), content)
    with pytest.raises(UserError, match=f"object {ref.md5} in .* is not a list of files as DVC writes it"):
        pull(ref, tmp_path / "target", local_store)


def test_a_listing_that_does_not_match_its_address_is_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    ref = push(folder, store)
    store.put(object_name(ref.md5), store.get(object_name(ref.md5))[:-10])
    with pytest.raises(UserError, match=f"object {ref.md5} in .* is altered or cut off: delete it"):
        pull(ref, tmp_path / "target", store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own; needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "nofrost-test", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("url", ["folder", "moto"], indirect=True)
def test_a_full_disk_is_reported_and_finished_downloads_are_used_later(
    url: str, small_disk: Path, tmp_path: Path, contents: Contents
) -> None:
    store, data, target = open_store(url), tmp_path / "data", small_disk / "target"
    data.mkdir()
    for number in range(8):
        (data / str(number)).write_bytes(bytes([number]) * 50_000)
    ref = push(data, store)
    with pytest.raises(UserError, match=r"cannot write .*target: no space left on device: free some"):
        pull(ref, target, store)
    assert not target.exists()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    pull(ref, target, store)
    assert contents(target) == contents(data)


def test_a_full_disk_under_the_store_is_reported(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 500_000)
    store = open_store(str(small_disk / "store"))
    with pytest.raises(UserError, match=r"cannot write .*store: no space left on device: free some"):
        push(tmp_path / "large", store)
    assert store.names("") == []


@pytest.mark.parametrize(
    ("path", "relation"),
    [
        ("store", "is"),
        ("store/data", "lies in"),
        ("store/files/md5/data", "lies in"),
        ("link/data", "lies in"),
        ("link", "is"),
        (".", "holds"),
    ],
)
def test_nothing_is_pulled_onto_or_into_the_store(
    path: str, relation: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "place" / "store"))
    ref = push(folder, store)
    monkeypatch.chdir(tmp_path / "place")
    Path("link").symlink_to("store")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=rf"it {relation} .*store, which is read here"):
        pull(ref, Path(path), store)
    assert sorted(tmp_path.rglob("*")) == before
