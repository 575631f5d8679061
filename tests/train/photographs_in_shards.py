"""Photographs of chosen sizes and encodings in shards, as tests of crops and batches read them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nofrost.config import EvaluationView
from nofrost.data import Photographs
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.shards.access import LocalFiles
from nofrost.data.shards.index import read_index
from nofrost.data.shards.writer import Photograph, ShardWriter

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
    """Write photographs of three classes into shards of a few records, and return them."""

    def records() -> Iterator[Photograph]:
        for row in range(count):
            size = sizes[row % len(sizes)]
            yield Photograph(encode(picture(row, size, "RGB" if channels == 3 else "L")), row % 3, size)

    writer = ShardWriter(folder, "train", shard_bytes=8_000)
    for _ in writer.write(records()):
        pass
    _, shards = writer.finish()
    files = LocalFiles(folder, [shard.name for shard in shards])
    return Photographs(read_index(folder, shards, count), files, VIEW, channels)
