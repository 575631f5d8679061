"""Tasks on photographs in shards: a streamed training, and a folder of shards that stay on the node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nofrost import tasks
from nofrost.config import Recipe
from nofrost.data import read_manifest
from nofrost.errors import UserError
from nofrost.store import Output, files_of, open_store, pull, push
from nofrost.store.local import LocalStore
from nofrost.tasks.cache_settings import make_shard_cache
from nofrost.tasks.workspace import workspace
from tests.photographs_on_disk import write_augmentation, write_dataset

RECIPE = {
    "title": "Tiny",
    "citation": "own",
    "model": {"arch": "resnet8"},
    "objective": {"name": "st"},
    "schedule": {"epochs": 1, "batch_size": 12},
}


class Stored(NamedTuple):
    """A store that has a dataset of photographs and augmentation sets of it."""

    url: str
    dataset: str
    augmentation: str
    shards: frozenset[str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("photographs")
    dataset = write_dataset(folder / "dataset")
    augmentation = write_augmentation(folder / "augmentation", dataset)
    store = open_store(str(folder / "store"))
    outputs = [
        str(Output(f"data/{name}", push(path, store)))
        for name, path in (("dataset", dataset), ("augmentation", augmentation))
    ]
    splits = read_manifest(dataset).splits
    return Stored(store.url, *outputs, frozenset(shard.md5 for each in splits.values() for shard in each.shards))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of what is read from a store, in order."""
    calls: list[str] = []
    original = LocalStore.read

    def noted(self: LocalStore, md5: str) -> Iterator[bytes]:
        calls.append(md5)
        return original(self, md5)

    monkeypatch.setattr(LocalStore, "read", noted)
    return calls


def training(stored: Stored, data: str) -> tasks.Training:
    recipe = json.dumps(Recipe.model_validate(RECIPE).as_json())
    return tasks.Training(recipe, "tiny", "0", stored.dataset, stored.augmentation, stored.url, data)  # type: ignore[arg-type]


def test_a_streamed_training_is_a_local_one_in_the_order_of_its_window(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nofrost import train

    monkeypatch.setattr(train, "STREAM_WINDOW", 4)
    store = open_store(stored.url)
    output = Output.parse(tasks.train(training(stored, "stream")))
    pull(output.ref, tmp_path / "streamed", store)
    pull(Output.parse(stored.dataset).ref, tmp_path / "dataset", store)
    recipe = Recipe.model_validate(RECIPE)
    train.run(tmp_path / "dataset", None, recipe, "tiny", 0, tmp_path / "local", window=4)
    for name in ("best.safetensors", "last.safetensors", "record.json"):
        assert (tmp_path / "streamed" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_shards_stay_on_the_node_where_the_cache_is_a_volume(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    store = open_store(stored.url)

    def weights_of_a_training() -> str:
        read.clear()
        output = Output.parse(tasks.train(training(stored, "local")))
        return files_of(output.ref, store)["last.safetensors"]

    without = weights_of_a_training()
    monkeypatch.setenv("NOFROST_DATA_CACHE", str(tmp_path / "cache"))
    assert weights_of_a_training() == without, "where shards lie changes nothing"
    assert stored.shards <= set(read)
    assert weights_of_a_training() == without
    assert not stored.shards & set(read), "the second training finds them"


def test_a_node_continues_with_the_shards_that_are_missing(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setenv("NOFROST_DATA_CACHE", str(tmp_path / "cache"))
    with workspace(stored.url) as work:
        (path,) = work.pull_whole(stored.dataset)
        assert {link.name for link in path.rglob("*.tar") if link.is_symlink()} == {
            Path(relpath).name
            for relpath in files_of(Output.parse(stored.dataset).ref, work.store)
            if relpath.endswith(".tar")
        }
    lost = sorted(stored.shards)[:2]
    for md5 in lost:
        (tmp_path / "cache" / md5).unlink()
    read.clear()
    with workspace(stored.url) as work:
        work.pull_whole(stored.dataset)
    assert stored.shards & set(read) == set(lost)


def test_a_cache_that_is_too_small_for_a_local_training_is_refused_with_the_remedy(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NOFROST_CACHE_SIZE", "50kB")
    with (
        workspace(stored.url) as work,
        pytest.raises(
            UserError, match=r"data/dataset has [0-9,]+ bytes .* raise NOFROST_CACHE_SIZE, or train with --data stream"
        ),
    ):
        work.pull_whole(stored.dataset)


def test_a_task_reads_of_the_shards_only_what_its_stage_needs(stored: Stored, read: list[str]) -> None:
    from nofrost.data import read_split

    with workspace(stored.url) as work:
        dataset = work.pull(stored.dataset)
        assert not list(dataset.rglob("*.tar"))
        assert not stored.shards & set(read)
        assert read_split(dataset, "test").images[:4].shape == (4, 16, 16, 3)
        assert len(stored.shards & set(read)) in (1, 2)


def test_augmentation_sets_of_photographs_are_made_in_shards_and_merged(stored: Stored) -> None:
    spec = json.dumps({"methods": ["tda"]})
    whole = tasks.augment(spec, stored.dataset, stored.url)
    parts = [tasks.augment_shard(spec, stored.dataset, shard, stored.url) for shard in ("0/2", "1/2")]
    assert tasks.augment(spec, stored.dataset, stored.url, parts) == whole
    files = files_of(Output.parse(whole).ref, open_store(stored.url))
    assert {"tda/index.npy", "tda/tda-000000.tar"} <= set(files)


@pytest.mark.parametrize(
    ("size", "limit"), [("200GiB", 200 << 30), ("1.5T", 1_500_000_000_000), ("64Gi", 64 << 30), ("1000", 1000)]
)
def test_a_size_is_read_with_its_unit(size: str, limit: int, tmp_path: Path) -> None:
    assert make_shard_cache(open_store(str(tmp_path)), tmp_path / "cache", size).limit == limit


@pytest.mark.parametrize("size", ["much", "-1", "0", "1 e3", "12i", "1.2.3G"])
def test_what_is_no_size_is_refused(size: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--cache-size or NOFROST_CACHE_SIZE is .*, which is not a size"):
        make_shard_cache(open_store(str(tmp_path)), tmp_path / "cache", size)


def test_a_ref_of_imagenets_size_is_a_few_hundred_objects() -> None:
    """ImageNet-1k as published has 1.28 million training photographs of 110 kB on average, 146 GB in all."""
    from nofrost.data.shards.tar import BLOCK
    from nofrost.data.shards.writer import SHARD_BYTES
    from nofrost.store.tree import Entry, as_object

    images, size = 1_331_167, 110_000
    record = 2 * BLOCK + -(-size // BLOCK) * BLOCK + BLOCK
    shards = -(-images * record // SHARD_BYTES)
    assert 500 < shards < 600
    listed = as_object(Entry(f"train/train-{number:06}.tar", f"{number:032x}") for number in range(shards))
    assert len(listed) < 64 * 1024
