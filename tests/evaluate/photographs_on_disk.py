"""A small dataset of photographs of several sizes, in shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nofrost.config import EvaluationView
from nofrost.data import Manifest, SplitManifest, write_manifest
from nofrost.data.arrays import write_array
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.files import sha256_file

VIEW = EvaluationView(resize=20, crop=16)
CLASSES = ("red", "green", "blue")


def photographs(count: int, seed: int) -> Iterator[Photograph]:
    """Yield smooth photographs of 24 to 60 pixels a side, each with one channel brighter: its class."""
    random = np.random.default_rng(seed)
    for row in range(count):
        height, width = random.integers(24, 60, 2)
        coarse = random.integers(0, 150, (4, 5, 3), dtype=np.uint8)
        coarse[..., row % 3] += 100
        image = Image.fromarray(coarse).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        yield Photograph(encode_jpeg(image), row % 3, (int(height), int(width)))


def write_photographs(dataset: Path, counts: dict[str, int], view: EvaluationView = VIEW) -> Path:
    """Write a dataset with so many photographs in each split."""
    splits = {}
    for seed, (name, count) in enumerate(counts.items()):
        folder = dataset / name
        writer = ShardWriter(folder, name, shard_bytes=10_000)
        for _ in writer.write(photographs(count, seed)):
            pass
        _, shards = writer.finish()
        numbers = {"labels": np.arange(count) % 3, "indices": np.arange(count) * 2}
        for key, values in numbers.items():
            write_array(folder / f"{key}.npy", [values], values.shape, np.dtype(np.int64))
        splits[name] = SplitManifest(
            count=count,
            class_counts=tuple(np.bincount(numbers["labels"], minlength=3).tolist()),
            sha256={key: sha256_file(folder / f"{key}.npy") for key in ("index", *numbers)},
            shards=shards,
        )
    manifest = Manifest(
        name="photographs",
        classes=CLASSES,
        image_size=(view.crop, view.crop),
        view=view,
        channels=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        splits=splits,
        provenance={},
        licence="",
        config={},
    )
    write_manifest(dataset, manifest)
    return dataset
