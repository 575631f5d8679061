"""A dataset is pulled without its shards where these are fetched as they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nofrost.cli.store import store as store_command
from nofrost.errors import UserError
from nofrost.store import Store, pull, push
from nofrost.store.pull import is_shard

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An output of prepare, as far as a store is concerned."""
    files = {
        "record.json": b'{"stage": "prepare", "nofrost": "1"}',
        "manifest.json": b"{}",
        "train/index.npy": b"index",
        "train/train-000000.tar": b"images",
        "train/train-000001.tar": b"more images",
        "test/test-000000.tar": b"others",
    }
    for relpath, content in files.items():
        path = tmp_path / "dataset" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "dataset"


def test_a_pull_without_shards_brings_the_rest(
    store: Store, dataset: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, read, original = push(dataset, store), [], store.read
    monkeypatch.setattr(store, "read", lambda md5: (read.append(md5), original(md5))[1])
    target = tmp_path / "target"
    pull(ref, target, store, shards=False)
    assert set(contents(target)) == {"record.json", "manifest.json", "train/index.npy"}
    assert len(read) == 5  # the list, twice the record, and two other files
    read.clear()
    pull(ref, target, store, shards=False)
    assert read == [ref.md5]


def test_a_folder_with_shards_is_kept_by_a_pull_without(
    store: Store, dataset: Path, tmp_path: Path, contents: Contents
) -> None:
    ref, target = push(dataset, store), tmp_path / "target"
    pull(ref, target, store)
    pull(ref, target, store, shards=False)
    assert contents(target) == contents(dataset)


def test_a_later_pull_with_shards_makes_the_folder_whole(
    store: Store, dataset: Path, tmp_path: Path, contents: Contents
) -> None:
    ref, target = push(dataset, store), tmp_path / "target"
    pull(ref, target, store, shards=False)
    pull(ref, target, store)
    assert contents(target) == contents(dataset)


def test_damage_of_the_rest_is_repaired(store: Store, dataset: Path, tmp_path: Path) -> None:
    ref, target = push(dataset, store), tmp_path / "target"
    pull(ref, target, store, shards=False)
    (target / "train" / "index.npy").write_bytes(b"other")
    pull(ref, target, store, shards=False)
    assert (target / "train" / "index.npy").read_bytes() == b"index"


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_what_no_stage_wrote_is_not_replaced(store: Store, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("of a user")
    with pytest.raises(UserError, match="contains 'notes' and was not created by a stage"):
        pull(push(dataset, store), tmp_path / "mine", store, shards=False)


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_the_command_leaves_shards_out_when_asked(store: Store, dataset: Path, tmp_path: Path) -> None:
    ref, target = push(dataset, store), tmp_path / "target"
    done = CliRunner().invoke(
        store_command, ["pull", f"{target}@{ref}", "--without-shards", "--store", store.url], catch_exceptions=False
    )
    assert (done.exit_code, done.stdout) == (0, f"{target}\n")
    assert not list(target.rglob("*.tar"))


@pytest.mark.parametrize(
    ("relpath", "is_one"),
    [
        ("train/train-000000.tar", True),
        ("deepaugment/deepaugment-000123.tar", True),
        ("train/index.npy", False),
        ("train/train-000000.tar.json", False),
        ("photos.tar", False),
    ],
)
def test_shards_are_known_by_their_names(relpath: str, is_one: bool) -> None:
    assert is_shard(relpath) == is_one
