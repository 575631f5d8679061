"""A split whose shards are elsewhere is read through a cache, with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nofrost.data import Photographs, read_augmentation_set, read_split
from nofrost.data import checksum as checksum_of
from nofrost.data.shards.access import LocalFiles
from nofrost.data.shards.cached import CachedFiles, shards_from
from nofrost.data.shards.shard_cache import ShardCache
from nofrost.errors import UserError
from nofrost.store import Store, open_store, pull, push
from tests.photographs_on_disk import write_augmentation, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def images_of(dataset: Path, name: str) -> Photographs:
    images = read_split(dataset, name, verify=True).images
    assert isinstance(images, Photographs)
    return images


def test_photographs_through_a_cache_are_those_of_the_dataset(tmp_path: Path, dataset: Path, store: Store) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    cache = ShardCache(store.read, tmp_path / "cache", 30_000)
    with shards_from(cache):
        for name in ("train", "selection", "test"):
            ours, theirs = images_of(tmp_path / "without", name), images_of(dataset, name)
            assert isinstance(ours.files, CachedFiles)
            np.testing.assert_array_equal(ours[:], theirs[:])
            assert ours.encoded(3) == theirs.encoded(3)


def test_augmentation_sets_come_through_the_same_cache(tmp_path: Path, dataset: Path, store: Store) -> None:
    sets = write_augmentation(tmp_path / "augmentation", dataset)
    pull(push(sets, store), tmp_path / "without", store, shards=False)
    with shards_from(ShardCache(store.read, tmp_path / "cache", 100_000)):
        ours = read_augmentation_set(tmp_path / "without", "deepaugment", dataset=checksum_of(dataset), verify=True)
    theirs = read_augmentation_set(sets, "deepaugment", dataset=checksum_of(dataset))
    np.testing.assert_array_equal(ours[np.arange(5)], theirs[np.arange(5)])


def test_shards_that_lie_in_the_dataset_are_read_there(tmp_path: Path, dataset: Path, store: Store) -> None:
    with shards_from(ShardCache(store.read, tmp_path / "cache", 100_000)):
        assert isinstance(images_of(dataset, "train").files, LocalFiles)
    assert not (tmp_path / "cache").exists()


def test_without_a_cache_a_missing_shard_is_an_error(tmp_path: Path, dataset: Path, store: Store) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    images = images_of(tmp_path / "without", "train")
    with pytest.raises(UserError, match=r"train-000000\.tar is missing"):
        images.encoded(0)


def test_a_shard_that_the_store_lacks_is_an_error_that_names_it(tmp_path: Path, dataset: Path, store: Store) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    with shards_from(ShardCache(store.read, tmp_path / "cache", 100_000)):
        images = images_of(tmp_path / "without", "train")
        (shard,) = [shard for number, shard in enumerate(images.files.shards) if number == 0]
        store.delete([f"files/md5/{shard.md5[:2]}/{shard.md5[2:]}"])
        with pytest.raises(UserError, match=shard.md5):
            images.encoded(0)
        assert images.encoded(len(images) - 1)


def test_a_shard_that_is_damaged_in_the_cache_is_fetched_again(tmp_path: Path, dataset: Path, store: Store) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    with shards_from(ShardCache(store.read, tmp_path / "cache", 100_000)) as _:
        images = images_of(tmp_path / "without", "train")
        content = images.encoded(0)
        (file,) = [path for path in (tmp_path / "cache").iterdir() if len(path.name) == 32]
        file.write_bytes(bytes(file.stat().st_size))
        assert images.encoded(0) == content


def test_a_shard_that_is_altered_in_the_store_is_found_when_it_is_read(
    tmp_path: Path, dataset: Path, store: Store
) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)

    def altered(md5: str) -> Iterator[bytes]:
        content = bytearray(b"".join(store.read(md5)))
        content[600] ^= 1
        yield bytes(content)

    with shards_from(ShardCache(altered, tmp_path / "cache", 100_000)):
        images = images_of(tmp_path / "without", "train")
        with pytest.raises(UserError, match=r"train-000000\.tar \(object [0-9a-f]{32}\) is altered or cut off where"):
            images.encoded(0)
        assert not list((tmp_path / "cache").glob("?" * 32)), "it is not kept"


def test_a_record_that_the_index_does_not_know_is_named(tmp_path: Path, dataset: Path, store: Store) -> None:
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    with shards_from(ShardCache(store.read, tmp_path / "cache", 100_000)):
        images = images_of(tmp_path / "without", "train")
        index = np.array(images.index)
        index["crc32"][0] ^= 1
        with pytest.raises(UserError, match=r"train-000000\.tar \(.*\) is cut off or damaged at record 0: make the"):
            replace(images, index=index).encoded(0)
