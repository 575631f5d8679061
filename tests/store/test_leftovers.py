"""What killed pushes and pulls leave: taken over by the next run of the same, or swept by `nofrost store gc`."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nofrost.cli.store import store as group
from nofrost.errors import UserError
from nofrost.lock import folder_lock
from nofrost.store import open_store, pull, push, sweep_pulls
from nofrost.store.base import object_name
from nofrost.store.local_file import LocalFile

Contents = Callable[[Path], dict[str, bytes]]
DAY_S = 86400.0


def killed_push(file: Path, store_folder: Path) -> Path:
    """Leave what a push leaves that is killed while it writes an object, and return its path."""
    name = object_name(LocalFile.of(file).md5)
    unfinished = store_folder / f"{name.rpartition('/')[0]}/.{name.rpartition('/')[2]}.nofrost-tmp"
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_bytes(b"cut o")
    return unfinished


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"content")
    return tmp_path / "file"


def gc(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["gc", *arguments])


def test_the_next_push_of_the_same_takes_over_what_a_killed_one_left(file: Path, tmp_path: Path) -> None:
    unfinished = killed_push(file, tmp_path / "store")
    ref = push(file, open_store(str(tmp_path / "store")))
    assert not unfinished.exists()
    assert open_store(str(tmp_path / "store")).names("") == [object_name(ref.md5)]


def test_gc_prints_what_it_would_delete_and_deletes_it_when_asked(file: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    ref = push(file, open_store(url))
    (tmp_path / "other").write_bytes(b"other")
    unfinished = killed_push(tmp_path / "other", tmp_path / "store")
    name = unfinished.relative_to(tmp_path / "store").as_posix()
    printed = gc("--store", url)
    assert printed.stdout == f"would delete (give --delete): {name} (5 bytes)\n"
    assert unfinished.exists()
    assert json.loads(gc("--store", url, "--json").stdout) == [
        {"name": name, "bytes": 5, "deleted": False, "in_use": False}
    ]
    assert gc("--store", url, "--delete").stdout == f"deleted: {name} (5 bytes)\n"
    assert not unfinished.exists()
    assert open_store(url).names("") == [object_name(ref.md5)]
    assert gc("--store", url, "--delete").stderr == "nofrost: nothing is left over\n"


def test_gc_keeps_what_another_process_is_writing(file: Path, tmp_path: Path) -> None:
    unfinished = killed_push(file, tmp_path / "store")
    with locked(unfinished):
        printed = gc("--store", str(tmp_path / "store"), "--delete", "--older-than", "0")
    assert printed.stdout.startswith("kept, may be in use: ")
    assert unfinished.exists()


def test_gc_leaves_files_of_dvc_and_of_users_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("nofrost/locks/run.yaml", b"x")
    kept = [
        "files/md5/ab/.Gk3vkqXyZP3mL2hUQK8tzW.tmp",
        "files/md5/ab/cdef.tmp",
        "nofrost/notes.tmp",
        ".mine.nofrost-tmp",
        "files/md5/ab/x.partial",
    ]
    for name in kept:
        (tmp_path / "store" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / name).write_text("x")
        os.utime(tmp_path / "store" / name, (0, 0))
    assert store.sweep(0, delete=True) == []
    assert all((tmp_path / "store" / name).is_file() for name in kept)


def test_files_of_earlier_versions_count_as_dead_when_they_are_old(tmp_path: Path) -> None:
    old, young = (tmp_path / "store/files/md5/ab" / f".cdef.{letters}.tmp" for letters in ("abc_1234", "wxyz0000"))
    old.parent.mkdir(parents=True)
    for path in (old, young):
        path.write_text("x")
    os.utime(old, (0, 0))
    leftovers = open_store(str(tmp_path / "store")).sweep(DAY_S, delete=True)
    assert {leftover.name.rpartition("/")[2]: leftover.is_dead for leftover in leftovers} == {
        old.name: True,
        young.name: False,
    }
    assert (old.exists(), young.exists()) == (False, True)


def test_gc_of_a_store_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no store at {tmp_path}/nowhere"):
        open_store(f"{tmp_path}/nowhere").sweep(0, delete=True)


def test_gc_aborts_unfinished_uploads_that_are_old(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    client, prefix = boto3.Session().client("s3"), moto.partition("bucket/")[2]
    store = open_store(moto)
    store.put("files/md5/aa/bb", b"kept")
    keys = [f"{prefix}/files/md5/ab/cd", f"{prefix}-beside/files/md5/ab/cd"]
    for key in keys:
        upload = client.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]
        client.upload_part(Bucket="bucket", Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 100)
    [young] = store.sweep(DAY_S, delete=True)
    assert (young.name, young.size, young.is_dead) == ("files/md5/ab/cd", 100, False)
    [dead] = store.sweep(0, delete=False)
    assert dead.is_dead
    [deleted] = store.sweep(0, delete=True)
    assert deleted == dead
    assert store.sweep(0, delete=True) == []
    uploads = client.list_multipart_uploads(Bucket="bucket").get("Uploads", [])
    assert [each["Key"] for each in uploads if each["Key"].startswith(prefix)] == keys[1:]
    assert store.names("") == ["files/md5/aa/bb"]


class Killed(BaseException):
    """Stands for kill -9: nothing may be cleaned up after it."""


def killed_pull(ref: Any, target: Path, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a pull leaves that is killed after its first file."""
    read, count = store.read, iter(range(100))

    def once(md5: str) -> Iterator[bytes]:
        if not md5.endswith(".dir") and next(count) == 1:
            raise Killed
        yield from read(md5)

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", once)
        patch.setattr(store, "jobs", 1)
        with suppress(Killed):
            pull(ref, target, store)


def test_gc_deletes_what_killed_pulls_left_in_folders(
    folder: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = push(folder, store)
    target = tmp_path / "here" / "deeper" / "q"
    mine = [target.with_name(name) for name in ("q.earlier", "q.pull.partial", ".q.partial", "q")]
    for path in mine:
        path.mkdir(parents=True)
    killed_pull(ref, target, store, monkeypatch)
    partial = target.with_name(".q.nofrost-pull")
    assert partial.is_dir()
    with folder_lock(target):
        [busy] = sweep_pulls(tmp_path / "here", 0, delete=True)
    assert not busy.is_dead
    assert partial.is_dir()
    printed = gc("--store", str(tmp_path / "store"), "--delete", str(tmp_path / "here"))
    assert printed.stdout.startswith(f"deleted: {partial} (")
    assert sorted(target.parent.iterdir()) == sorted(mine)


def test_the_next_pull_takes_over_what_a_killed_one_left(
    folder: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"))
    ref = push(folder, store)
    target = tmp_path / "here" / "q"
    killed_pull(ref, target, store, monkeypatch)
    begin = time.monotonic()
    pull(ref, target, store)
    assert time.monotonic() - begin < 60
    assert contents(target) == contents(folder)
    assert list(target.parent.iterdir()) == [target]


def test_without_locks_gc_keeps_a_pull_that_may_be_running(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    store = open_store(str(tmp_path / "store"))
    ref = push(folder, store)
    target = tmp_path / "here" / "q"
    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock(target):
        killed_pull(ref, tmp_path / "here" / "other", store, monkeypatch)
        target.with_name(".other.nofrost-pull").rename(target.with_name(".q.nofrost-pull"))
        [young] = sweep_pulls(tmp_path / "here", DAY_S, delete=True)
        [old] = sweep_pulls(tmp_path / "here", 0, delete=False)
    assert (young.is_dead, old.is_dead) == (False, True)
    assert target.with_name(".q.nofrost-pull").is_dir()


def test_gc_without_delete_writes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "store"))
    target = tmp_path / "here" / "q"
    killed_pull(push(folder, store), target, store, monkeypatch)
    before = target.parent.stat().st_mtime_ns
    [dead] = sweep_pulls(tmp_path / "here", 0, delete=False)
    assert dead.is_dead
    assert target.parent.stat().st_mtime_ns == before


def test_gc_deletes_probes_and_claims_of_killed_processes(moto: str) -> None:
    store = open_store(moto)
    left = ["nofrost/claims/nofrost/leases/weekly/dead", "nofrost/probes/dead"]
    for name in [*left, "nofrost/leases/weekly"]:
        store.put(name, b"{}")
    assert [each.is_dead for each in store.sweep(DAY_S, delete=True)] == [False, False]
    assert sorted(each.name for each in store.sweep(0, delete=False)) == left
    assert store.names("") == sorted([*left, "nofrost/leases/weekly"])
    store.sweep(0, delete=True)
    assert store.names("") == ["nofrost/leases/weekly"]
