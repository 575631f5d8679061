"""Photographs of several sizes in shards, as tests of training read them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from nofrost.config import EvaluationView
from nofrost.data import (
    AugmentationManifest,
    Manifest,
    Photographs,
    ShardManifest,
    SplitManifest,
    checksum,
    read_manifest,
    write_augmentation_manifest,
    write_manifest,
)
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.shards.access import LocalFiles
from nofrost.data.shards.index import read_index
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.files import sha256_file

VIEW = EvaluationView(resize=20, crop=16)
SIZES = [(40, 30), (24, 60), (90, 120), (16, 64), (130, 70)]
"""Height and width; row r has the size of number r modulo their number."""


def picture(row: int, size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A smooth image, another one for each row."""
    grains = np.random.default_rng(row).integers(0, 256, (4, 5, len(mode)), dtype=np.uint8)
    return Image.fromarray(grains.squeeze(), mode).resize(size[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image) -> bytes:
    """The image as a JPEG with reduced colour (4:2:0), as photographs are published."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def photographs(
    folder: Path,
    count: int = 30,
    *,
    channels: int = 3,
    sizes: list[tuple[int, int]] = SIZES,
    encode: Callable[[Image.Image], bytes] = encode_jpeg,
) -> Photographs:
    """Write photographs into shards of a few records, and return them."""
    shards = write(folder, count, channels=channels, sizes=sizes, encode=encode)
    files = LocalFiles(folder, [shard.name for shard in shards])
    return Photographs(read_index(folder, shards, count), files, VIEW, channels)


def write(
    folder: Path,
    count: int,
    *,
    channels: int = 3,
    sizes: list[tuple[int, int]] = SIZES,
    encode: Callable[[Image.Image], bytes] = encode_jpeg,
) -> tuple[ShardManifest, ...]:
    """Write photographs of three classes, and return their shards."""

    def records() -> Iterator[Photograph]:
        for row in range(count):
            size = sizes[row % len(sizes)]
            yield Photograph(encode(picture(row, size, "RGB" if channels == 3 else "L")), row % 3, size)

    writer = ShardWriter(folder, "train", shard_bytes=8_000)
    for _ in writer.write(records()):
        pass
    _, shards = writer.finish()
    return shards


def dataset(folder: Path, counts: Mapping[str, int]) -> Path:
    """Write a dataset of photographs with so many in each split."""
    splits = {}
    for name, count in counts.items():
        shards = write(folder / name, count)
        labels = np.arange(count, dtype=np.int64) % 3
        np.save(folder / name / "labels.npy", labels)
        np.save(folder / name / "indices.npy", np.arange(count, dtype=np.int64))
        splits[name] = SplitManifest(
            count=count,
            class_counts=tuple(np.bincount(labels, minlength=3).tolist()),
            sha256={key: sha256_file(folder / name / f"{key}.npy") for key in ("index", "labels", "indices")},
            shards=shards,
        )
    manifest = Manifest(
        name="photographs",
        classes=("a", "b", "c"),
        image_size=(VIEW.crop, VIEW.crop),
        view=VIEW,
        channels=3,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        splits=splits,
        provenance={},
        licence="",
        config={},
    )
    write_manifest(folder, manifest)
    return folder


def augmentation(folder: Path, of_dataset: Path, method: str = "deepaugment") -> Path:
    """Write a set of photographs for the dataset: the same pictures at other sizes."""
    count = read_manifest(of_dataset).splits["train"].count
    shards = write(folder / method, count, sizes=[(48, 60), (50, 48)])
    manifest = AugmentationManifest(
        dataset=checksum(of_dataset),
        count=count,
        sha256={method: sha256_file(folder / method / "index.npy")},
        shards={method: shards},
        view=VIEW,
        channels=3,
        provenance={},
        config={},
    )
    write_augmentation_manifest(folder, manifest)
    return folder
