"""Shards are read out of every kind of store through a cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nofrost.data import read_split
from nofrost.data.shards.cached import shards_from
from nofrost.errors import UserError
from nofrost.store import Store, pull, push
from nofrost.store.base import object_name
from nofrost.tasks.cache_settings import make_shard_cache
from tests.photographs_on_disk import write_dataset


def test_a_dataset_is_streamed_from_any_store(store: Store, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", train=30)
    ref = push(dataset, store)
    pull(ref, tmp_path / "without", store, shards=False)
    with shards_from(make_shard_cache(store, tmp_path / "cache", "30kB")):
        streamed = read_split(tmp_path / "without", "train").images
        order = np.random.default_rng(0).permutation(30)
        np.testing.assert_array_equal(streamed[order], read_split(dataset, "train").images[order])
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 30_000


def test_a_shard_that_is_altered_in_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", train=30)
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    with shards_from(make_shard_cache(store, tmp_path / "cache")):
        images = read_split(tmp_path / "without", "train").images
        shard = images.files.shards[0]  # type: ignore[union-attr]
        name = object_name(shard.md5)
        store.delete([name])
        store.put(name, bytes(shard.size))
        with pytest.raises(UserError, match=rf"shard train-000000\.tar \(object {shard.md5}\) is altered or cut off"):
            images[:1]
