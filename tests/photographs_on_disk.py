"""Small datasets of photographs in shards, and augmentation sets of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.config import EvaluationView
from nofrost.data import (
    AugmentationManifest,
    Manifest,
    SplitManifest,
    checksum,
    write_augmentation_manifest,
    write_manifest,
)
from nofrost.data.arrays import write_array
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.files import sha256_file, write_json

VIEW = EvaluationView(resize=18, crop=16)
CLASSES = 3


def photographs(count: int, seed: int = 0) -> Iterator[Photograph]:
    """Yield photographs of various sizes, of three classes in turn, which differ in brightness."""
    random = np.random.default_rng(seed)
    for row in range(count):
        height, width = random.integers(20, 40, 2)
        pixels = random.integers(0, 100, (5, 5, 3)) + 50 * (row % CLASSES)
        image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        yield Photograph(encode_jpeg(image), row % CLASSES, (int(height), int(width)))


def write_shards(
    folder: Path, count: int, shard_bytes: int, seed: int = 0
) -> tuple[tuple[ShardManifest, ...], dict[str, str]]:
    """Write photographs into shards named like the folder; return these and the checksum of their index."""
    writer = ShardWriter(folder, folder.name, shard_bytes=shard_bytes)
    for _ in writer.write(photographs(count, seed)):
        pass
    _, shards = writer.finish()
    return shards, {"index": sha256_file(folder / "index.npy")}


def write_dataset(folder: Path, train: int = 60, others: int = 12, shard_bytes: int = 10_000) -> Path:
    """Write a dataset like an output of prepare; a shard of 10,000 bytes holds about four photographs.

    The index of a photograph in its source is twice its row.
    """
    splits = {}
    for number, (name, count) in enumerate({"train": train, "selection": others, "test": others}.items()):
        shards, checksums = write_shards(folder / name, count, shard_bytes, seed=number)
        labels: NDArray[np.int64] = np.arange(count, dtype=np.int64) % CLASSES
        for key, numbers in (("labels", labels), ("indices", 2 * np.arange(count, dtype=np.int64))):
            write_array(folder / name / f"{key}.npy", [numbers], numbers.shape, numbers.dtype)
            checksums[key] = sha256_file(folder / name / f"{key}.npy")
        counts = tuple(np.bincount(labels, minlength=CLASSES).tolist())
        splits[name] = SplitManifest(count=count, class_counts=counts, sha256=checksums, shards=shards)
    manifest = Manifest(
        name="photos", classes=("a", "b", "c"), image_size=(VIEW.crop, VIEW.crop), view=VIEW, channels=3,
        mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2), splits=splits, provenance={"source": "here"}, licence="none",
        config={},
    )  # fmt: skip
    write_manifest(folder, manifest)
    write_json(folder / "record.json", {"stage": "prepare", "nofrost": "1"})
    return folder


def write_augmentation(folder: Path, dataset: Path, method: str = "deepaugment", shard_bytes: int = 10_000) -> Path:
    """Write an augmentation set like an output of augment, for all training photographs of a dataset."""
    from nofrost.data import read_manifest

    count = read_manifest(dataset).splits["train"].count
    shards, checksums = write_shards(folder / method, count, shard_bytes, seed=9)
    manifest = AugmentationManifest(
        dataset=checksum(dataset), count=count, sha256={method: checksums["index"]}, shards={method: shards},
        view=VIEW, channels=3, provenance={}, config={},
    )  # fmt: skip
    write_augmentation_manifest(folder, manifest)
    write_json(folder / "record.json", {"stage": "augment", "nofrost": "1"})
    return folder
