"""Stores that somebody prepared, and disks that fail: one sentence each, nothing outside the output, no hang."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.store import Ref, Store, files_of, open_store, pull, push, tree, verify
from nofrost.store.base import MOST_NAMED_BYTES, object_name
from nofrost.store.tree import address

A = "0cc175b9c0f1b6a831c399e269772661"


def planted(content: bytes, store: Store) -> Ref:
    """Put a folder's object with this content into a store, under its true address."""
    md5 = address(content)
    store.put(object_name(md5), content)
    return Ref(md5)


def listing(*paths: str) -> bytes:
    return json.dumps([{"md5": A, "relpath": path} for path in paths]).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"{}",
        b"[{}]",
        b"[[]]",
        b"[1]",
        b'["x"]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'[{"md5": 1, "relpath": "x"}]',
        b'[{"md5": ["x"], "relpath": "x"}]',
        b'[{"md5": "%s", "relpath": {"md5": "x", "relpath": "y"}}]' % A.encode(),
        b'[{"md5": "%s", "relpath": 7}]' % A.encode(),
        b'[{"md5": "%s"}]' % A.encode(),
        b"\xff\xfe",
        listing("../x"),
        listing("/etc/passwd"),
        listing("a", "a"),
        listing("a", "a/b"),
        listing("a/../../x"),
        listing(""),
        listing("."),
        listing("a\0b"),
        listing("\ud800"),
        listing("a/\udfff"),
        listing(".git/hooks/x"),
        listing("x/.dvc/config"),
        listing("a" * 300),
        listing("a/" * 3000 + "x"),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_an_object_that_is_no_list_of_files_writes_nothing(content: bytes, local_store: Store, tmp_path: Path) -> None:
    local_store.put(object_name(A), b"a")
    ref = planted(content, local_store)
    target = tmp_path / "here" / "q"
    with pytest.raises(UserError) as caught:
        pull(ref, target, local_store)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 8000
    assert not target.exists()
    assert not list(tmp_path.glob("here/*"))
    assert sorted(path.name for path in tmp_path.iterdir()) in (["here", "store"], ["store"])


def test_names_that_are_not_utf_8_come_back_as_they_were(local_store: Store, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("x")
    ref = push(tmp_path / "data", local_store)
    pull(ref, tmp_path / "back", local_store)
    assert [path.name for path in (tmp_path / "back").iterdir()] == [name]
    assert list(files_of(ref, local_store)) == [name]


def test_a_list_or_named_object_of_any_size_is_refused_before_it_is_read(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_MOST_BYTES", 100)
    store = open_store(url)
    ref = planted(b" " * 101, store)
    with pytest.raises(UserError, match="has more than 100 bytes"):
        pull(ref, tmp_path / "q", store)
    store.put("nofrost/locks/run.yaml", b" " * (MOST_NAMED_BYTES + 1))
    with pytest.raises(UserError, match=f"run.yaml in .* has more than {MOST_NAMED_BYTES:,} bytes"):
        store.get("nofrost/locks/run.yaml")
    record = b" " * (MOST_NAMED_BYTES + 1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "record.json").write_bytes(record)
    monkeypatch.setattr(tree, "_MOST_BYTES", 1000)
    ref = push(tmp_path / "data", store)
    with pytest.raises(UserError, match="bytes: do not use it"):
        pull(ref, tmp_path / "q", store)


@pytest.mark.parametrize("which", ["list", "file", "named"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_what_is_no_regular_file_in_a_store_is_refused_without_waiting(
    which: str, kind: str, folder: Path, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = push(folder, store)
    store.put("nofrost/locks/run.yaml", b"x")
    names = {
        "list": object_name(ref.md5),
        "file": object_name(files_of(ref, store)["a"]),
        "named": "nofrost/locks/run.yaml",
    }
    path = tmp_path / "store" / names[which]
    path.unlink()
    {"fifo": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    read = (lambda: store.get(names["named"])) if which == "named" else (lambda: pull(ref, tmp_path / "q", store))
    with pytest.raises(UserError, match=r"not a regular file|is a directory"):
        read()
    assert kind == "device" or names[which] not in store.names("")


def fail(code: int, path: Path, monkeypatch: pytest.MonkeyPatch, *, write: bool) -> None:
    """Let reading or writing of `path` and what is below it fail with an errno."""
    original = Path.open

    class Failing:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> int:
            raise OSError(code, os.strerror(code))

        read = write

    def opened(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = original(self, mode, *arguments, **options)
        is_affected = self.is_relative_to(path) and any(letter in mode for letter in "wxa+") == write
        return Failing(file) if is_affected else file

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_a_push_is_named(
    code: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"))
    with monkeypatch.context() as patch:
        fail(code, tmp_path / "store", patch, write=True)
        with pytest.raises(UserError, match=f"^cannot write {tmp_path / 'store'}: {os.strerror(code).lower()}: "):
            push(folder, store)
    assert not list((tmp_path / "store").rglob("*.nofrost-*"))
    verify(push(folder, store), store)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_a_pull_is_named(
    code: int,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Callable[[Path], dict[str, bytes]],
) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = push(folder, store)
    target = tmp_path / "here" / "q"
    with monkeypatch.context() as patch:
        fail(code, tmp_path / "here", patch, write=True)
        with pytest.raises(UserError, match=f"^cannot write {target}: {os.strerror(code).lower()}: "):
            pull(ref, target, store)
    assert not target.exists()
    pull(ref, target, store)
    assert contents(target) == contents(folder)
    assert list(target.parent.iterdir()) == [target]


def test_a_source_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(errno.EIO, folder, monkeypatch, write=False)
    with pytest.raises(UserError, match=r"(?s)^cannot read .*data.*: input/output error: check .* disk"):
        push(folder, open_store(str(tmp_path / "store")))


def test_a_folder_without_files_is_named(
    local_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    push(tmp_path / "empty", local_store)
    assert f"nofrost: {tmp_path / 'empty'} contains no file" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.slow
def test_a_list_that_expands_in_memory_ends_in_a_sentence(tmp_path: Path) -> None:
    """200 MB of "[]," under 2 GB of address space."""
    content = b"[" + b"[]," * 66_000_000 + b"[]]"
    md5 = address(content)
    path = tmp_path / "store" / object_name(md5)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    limit = (2 << 30, 2 << 30)
    done = subprocess.run(
        [sys.executable, "-m", "nofrost", "store", "ls", md5, "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    assert done.returncode == 2, done.stderr
    assert "is not a list of files as DVC writes it" in done.stderr


@pytest.mark.parametrize("path", ["a/" * 1990 + "a", "/".join(["a"] * 100_000), "b" * 5000])
def test_a_path_that_no_disk_takes_is_refused_at_once(path: str, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = planted(listing(*(f"{number}/{path}" for number in range(20))), store)
    with pytest.raises(UserError, match="which is not a path inside a folder"):
        pull(ref, tmp_path / "q", store)
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(("levels", "works"), [(499, True), (500, False)])
def test_folders_that_cannot_be_pulled_are_not_pushed(levels: int, works: bool, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    deep = tmp_path / "data" / "/".join(["a"] * levels)
    deep.mkdir(parents=True)
    (deep / "x").write_bytes(b"a")
    if not works:
        with pytest.raises(UserError, match="more than 500 folders deep"):
            push(tmp_path / "data", store)
        return
    pull(push(tmp_path / "data", store), tmp_path / "q", store)
    assert (tmp_path / "q" / deep.relative_to(tmp_path / "data") / "x").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("paths", "clash"),
    [
        (("a", "a-b", "a/b"), True),
        (("a/b/c", "a/b!", "a/b"), True),
        (("a", "ab", "a-/b", "b/a"), False),
        (("a!", "a!/b", "a"), True),
    ],
)
def test_a_file_that_is_also_a_folder_is_found_wherever_it_sorts(
    paths: tuple[str, ...], clash: bool, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = planted(listing(*paths), store)
    if clash:
        with pytest.raises(UserError, match="lists two files at one path"):
            files_of(ref, store)
    else:
        assert set(files_of(ref, store)) == set(paths)
