"""Training on shards that are fetched: each image once in any case, and the weights of a training on local shards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost import train
from nofrost.config import Recipe, ViewSpec
from nofrost.data import Photographs, read_split
from nofrost.data.shards.cached import shards_from
from nofrost.data.shards.shard_cache import ShardCache
from nofrost.errors import StoppedError, UserError
from nofrost.files import read_json
from nofrost.lock import is_written
from nofrost.processes import ProcessGroup
from nofrost.store import Store, open_store, pull, push
from nofrost.train.batches import TrainingImages
from nofrost.train.shares import rows_of_process
from nofrost.train.upcoming import Upcoming
from tests.photographs_on_disk import write_augmentation, write_dataset

WINDOW, BATCH = 3, 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("photographs") / "dataset")


@pytest.fixture(scope="module")
def augmentation(dataset: Path) -> Path:
    return write_augmentation(dataset.parent / "augmentation", dataset)


@pytest.fixture(scope="module")
def store(dataset: Path) -> Store:
    return open_store(str(dataset.parent / "store"))


@pytest.fixture(scope="module")
def elsewhere(dataset: Path, augmentation: Path, store: Store) -> Path:
    """A folder with the dataset and its augmentation set, both without shards."""
    folder = dataset.parent / "elsewhere"
    for path in (dataset, augmentation):
        pull(push(path, store), folder / path.name, store, shards=False)
    return folder


def recipe(**changes: Any) -> Recipe:
    values = {"title": "Tiny", "citation": "own", "model": {"arch": "resnet8"}, "objective": {"name": "st"},
              "schedule": {"epochs": 2, "batch_size": BATCH}, **changes}  # fmt: skip
    return Recipe.model_validate(values)


def images_of(dataset: Path, group: ProcessGroup, window: int | None) -> TrainingImages:
    return TrainingImages(read_split(dataset, "train"), {}, (), ViewSpec(), BATCH, group, window=window)


@settings(max_examples=40, deadline=None)
@given(
    before=st.sampled_from([1, 2, 3]),
    after=st.sampled_from([1, 2, 3]),
    killed_at=st.integers(0, 60 // BATCH),
    window=st.sampled_from([None, 1, 2, 5, 100]),
    seed=st.integers(0, 100),
    epoch=st.integers(0, 3),
)
def test_an_epoch_has_every_image_once_also_after_a_kill_with_another_number_of_processes(
    dataset: Path, before: int, after: int, killed_at: int, window: int | None, seed: int, epoch: int
) -> None:
    seen: list[int] = []
    order: list[int] = []
    for size, steps in ((before, range(killed_at)), (after, range(killed_at, 60 // BATCH))):
        groups = [ProcessGroup(rank, size) for rank in range(size)]
        for step in steps:
            for group in groups:
                # What a process trains on is a function of seed, epoch and step: nothing is remembered.
                rows = images_of(dataset, group, window).order(seed, epoch)[step * BATCH : (step + 1) * BATCH]
                seen += rows[rows_of_process(BATCH, 1, group)].tolist()
        order = images_of(dataset, groups[0], window).order(seed, epoch).tolist()
    assert sorted(seen) == list(range(60))
    for step in range(60 // BATCH):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        assert set(seen[batch]) == set(order[batch]), "each step has its images with any number of processes"


@pytest.mark.parametrize("first_step", [0, 2])
def test_batches_of_two_processes_are_those_of_one(
    elsewhere: Path, store: Store, tmp_path: Path, first_step: int
) -> None:
    with shards_from(ShardCache(store.read, tmp_path / "cache", 80_000)):
        whole, *parts = (
            [
                (batch.images, batch.indices)
                for batch in images_of(elsewhere / "dataset", group, WINDOW).epoch(1, 0, first_step)
            ]
            for group in (ProcessGroup(), ProcessGroup(0, 2), ProcessGroup(1, 2))
        )
    assert len(whole) == 60 // BATCH - first_step
    for (images, indices), *halves in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([half[0] for half in halves]), images)
        np.testing.assert_array_equal(np.concatenate([half[1] for half in halves]), indices)


def weights(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("best.safetensors", "last.safetensors", "curves.json")}


@pytest.fixture(scope="module")
def local(dataset: Path) -> Path:
    """The output of a training on local shards in the order of a stream."""
    out = dataset.parent / "local"
    train.run(dataset, None, recipe(), "tiny", 0, out, window=WINDOW)
    return out


def test_a_streamed_training_has_the_weights_of_one_on_local_shards(
    elsewhere: Path, store: Store, local: Path, tmp_path: Path
) -> None:
    with shards_from(ShardCache(store.read, tmp_path / "cache", 80_000)):
        train.run(elsewhere / "dataset", None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW)
    assert weights(tmp_path / "out") == weights(local)
    assert read_json(tmp_path / "out" / "record.json") == read_json(local / "record.json")
    assert read_json(local / "record.json")["window"] == WINDOW


def test_a_stopped_streamed_training_goes_on_to_the_same_weights(
    elsewhere: Path, store: Store, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nofrost.train.trainer import Trainer

    original, steps = Trainer.train_step, 0

    def counted(self: Trainer, batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            signalled.set()
        return original(self, batch)

    signalled = threading.Event()
    monkeypatch.setattr(Trainer, "train_step", counted)
    monkeypatch.setattr("nofrost.train.trainer.stop_requested", lambda: _Entered(signalled))
    with shards_from(ShardCache(store.read, tmp_path / "cache", 80_000)), pytest.raises(StoppedError):
        train.run(elsewhere / "dataset", None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW)
    monkeypatch.undo()
    with shards_from(ShardCache(store.read, tmp_path / "another cache", 80_000)):
        train.run(elsewhere / "dataset", None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW)
    assert weights(tmp_path / "out") == weights(local)


class _Entered:
    """A context manager that yields a value."""

    def __init__(self, value: threading.Event) -> None:
        self.value = value

    def __enter__(self) -> threading.Event:
        return self.value

    def __exit__(self, *_: object) -> None:
        pass


def test_another_window_gives_other_weights(dataset: Path, local: Path, tmp_path: Path) -> None:
    train.run(dataset, None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW + 1)
    assert weights(tmp_path / "out") != weights(local)


def test_aligned_sets_are_streamed_by_the_same_rows(
    dataset: Path, augmentation: Path, elsewhere: Path, store: Store, tmp_path: Path
) -> None:
    objective = {"name": "multi-view", "views": ["clean", "deepaugment"]}
    values = recipe(objective=objective, views={"augmentation_sets": ["deepaugment"]})
    train.run(dataset, augmentation, values, "tiny", 0, tmp_path / "local", window=WINDOW)
    with shards_from(ShardCache(store.read, tmp_path / "cache", 160_000)):
        train.run(elsewhere / "dataset", elsewhere / "augmentation", values, "tiny", 0, tmp_path / "out", window=WINDOW)
    assert weights(tmp_path / "out") == weights(tmp_path / "local")


def test_each_shard_is_fetched_once_an_epoch_though_the_cache_holds_a_part_of_them(
    elsewhere: Path, store: Store, tmp_path: Path
) -> None:
    fetched: list[str] = []

    def fetch(md5: str) -> Iterator[bytes]:
        fetched.append(md5)
        return iter([b"".join(store.read(md5))])

    images = read_split(elsewhere / "dataset", "train").images
    assert isinstance(images, Photographs)
    largest = max(shard.size for shard in read_manifest_shards(elsewhere / "dataset"))
    # Here a batch is as large as a window, and three batches are made at once.
    cache = ShardCache(fetch, tmp_path / "cache", 4 * WINDOW * largest)
    with shards_from(cache):
        for _ in images_of(elsewhere / "dataset", ProcessGroup(), WINDOW).epoch(0, 0, 0):
            pass
        # However slow training is, no more is fetched than what is announced.
        while cache._queue or any(
            is_written(cache.path(shard)) for shard in read_manifest_shards(elsewhere / "dataset")
        ):
            time.sleep(0.01)
        cache.close()
    shards = {shard.md5 for shard in read_manifest_shards(elsewhere / "dataset")}
    assert shards <= set(fetched)
    # Towards the end the first window of the next epoch is fetched.
    assert len(fetched) <= len(shards) + WINDOW


def read_manifest_shards(dataset: Path) -> tuple[Any, ...]:
    from nofrost.data import read_manifest

    return read_manifest(dataset).splits["train"].shards


def test_a_cache_too_small_for_two_windows_is_refused_before_the_first_step(
    elsewhere: Path, store: Store, tmp_path: Path
) -> None:
    message = r"two windows of 3 shards of every set of images have up to [0-9,]+ bytes, and the cache .* may have 30,"
    with shards_from(ShardCache(store.read, tmp_path / "cache", 30_000)), pytest.raises(UserError, match=message):
        train.run(elsewhere / "dataset", None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW)


def test_arrays_have_no_windows(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the training images are an array, which has no shards"):
        train.run(digits, None, recipe(), "tiny", 0, tmp_path / "out", window=WINDOW)


def test_what_is_read_no_more_is_announced_no_more(elsewhere: Path, store: Store, tmp_path: Path) -> None:
    cache = ShardCache(store.read, tmp_path / "cache", 1_000_000)
    announced: list[list[str]] = []
    cache.announce = lambda shards: announced.append([shard.name for shard in shards])  # type: ignore[method-assign]
    with shards_from(cache):
        images = images_of(elsewhere / "dataset", ProcessGroup(), WINDOW)
        photographs = images.split.images
        assert isinstance(photographs, Photographs)
        order = images.order(0, 0)
        upcoming = Upcoming([photographs], order, order[:0])
        for position in range(60):
            upcoming.at(position)
    numbers = photographs.index["shard"][order]
    shards = [shard.name for shard in read_manifest_shards(elsewhere / "dataset")]
    expected = [list(dict.fromkeys(shards[number] for number in numbers))]
    for position in range(1, 60):
        still = {shards[number] for number in numbers[position:]}
        left = [name for name in expected[0] if name in still]
        if left != expected[-1]:
            expected.append(left)
    assert announced == expected
