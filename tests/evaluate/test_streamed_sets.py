"""Corrupted sets of photographs: read batch by batch, in shards and after a kill, with the bytes of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost import models
from nofrost.config import EvaluationView, OodSuite
from nofrost.data import Photographs, SplitManifest, read_manifest, write_manifest
from nofrost.data.arrays import write_array
from nofrost.evaluate import Shard, merge, run
from nofrost.evaluate.images import CorruptedTestImages, read_images, read_test_sets
from nofrost.files import sha256_file
from tests.evaluate.conftest import checkpoint
from tests.photographs_on_disk import CLASSES, write_dataset, write_shards

MakeSuite = Callable[..., OodSuite]
COUNT, BATCH = 21, 4


def write_corrupted(folder: Path, dataset: Path) -> None:
    """Write a corrupted set of photographs with three conditions."""
    splits = {}
    labels = np.arange(COUNT, dtype=np.int64) % CLASSES
    for seed, name in enumerate(("fog-1", "fog-5", "snow-3")):
        shards, checksums = write_shards(folder / name, COUNT, 10_000, seed)
        for key, numbers in (("labels", labels), ("indices", np.arange(COUNT, dtype=np.int64))):
            write_array(folder / name / f"{key}.npy", [numbers], numbers.shape, numbers.dtype)
            checksums[key] = sha256_file(folder / name / f"{key}.npy")
        counts = tuple(np.bincount(labels, minlength=CLASSES).tolist())
        splits[name] = SplitManifest(count=COUNT, class_counts=counts, sha256=checksums, shards=shards)
    values = {"name": "corrupted photographs", "splits": splits, "config": {"source": "folder"}}
    write_manifest(folder, read_manifest(dataset).model_copy(update=values))


@pytest.mark.parametrize(("name", "resize"), [("imagenet-c", 12), ("tiny-imagenet-c", 20)])
def test_photographs_that_were_cropped_before_they_were_corrupted_are_not_cropped_again(
    make_ood_suite: MakeSuite, tmp_path: Path, name: str, resize: int
) -> None:
    dataset, folder = write_dataset(tmp_path / "dataset", train=6, others=COUNT), tmp_path / "sets" / "published"
    write_corrupted(folder, dataset)
    write_manifest(folder, read_manifest(folder).model_copy(update={"name": name}))
    suite = make_ood_suite(view=EvaluationView(resize=20, crop=12), test_sets={"published": {"source": "folder"}})
    images = read_test_sets(suite, tmp_path / "sets", read_images(dataset, None))["published"]
    assert isinstance(images, CorruptedTestImages)
    assert {sample.view for sample in images.samples.values()} == {EvaluationView(resize=resize, crop=12)}
    assert images.sample.read(np.arange(2)).shape == (2, 3, 12, 12)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_photographs_under_corruptions_are_streamed_sharded_and_resumed(
    make_ood_suite: MakeSuite, tmp_path: Path, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset(tmp_path / "dataset", train=6, others=COUNT)
    write_corrupted(tmp_path / "sets" / "published", dataset)
    torch.manual_seed(0)
    network = models.create_model("resnet8", normaliser="bn", num_classes=CLASSES, image_size=16, channels=3)
    model = checkpoint(tmp_path / "model", network)
    suite = make_ood_suite(corruptions=[], batch_size=BATCH, test_sets={"published": {"source": "folder"}})
    read: list[int] = []
    original = Photographs.__getitem__

    def watch(self: Photographs, rows: Any) -> Any:
        images = original(self, rows)
        read.append(len(images))
        return images

    monkeypatch.setattr(Photographs, "__getitem__", watch)
    run(dataset, model, suite, tmp_path / "whole", test_sets=tmp_path / "sets")
    # one image to check the model, then clean images and three conditions in six batches each
    assert (sum(read[:25]), max(read[:25])) == (1 + 4 * COUNT, BATCH)
    shards = [tmp_path / f"{index}-of-3" for index in range(3)]
    started.clear()
    started.limit = 2
    with pytest.raises(KeyboardInterrupt):
        run(dataset, model, suite, shards[0], Shard(0, 3), tmp_path / "sets")
    started.limit = 100
    for index, out in enumerate(shards):
        run(dataset, model, suite, out, Shard(index, 3), tmp_path / "sets")
    merge(dataset, model, suite, shards, tmp_path / "merged", tmp_path / "sets")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
