"""Photographs to load: those of imagenette-mini, made as large as ImageNet's, or as small as thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

# The median photograph of ImageNet has 500 x 375 pixels and about 110 KB.
LARGE = (500, 375)
SMALL = (64, 48)
NOISE = 18.0  # standard deviation in levels that brings 500 x 375 pixels to about 110 KB at quality 90


def originals(folder: Path) -> list[Image.Image]:
    """Return the photographs of imagenette-mini, decoded."""
    files = sorted(folder.rglob("*.JPEG")) or sorted(folder.rglob("*.jpg"))
    return [Image.open(file).convert("RGB") for file in files]


def write_folder(folder: Path, source: Path, count: int, size: tuple[int, int], classes: int = 10) -> None:
    """Write `count` JPEGs of `size` (width, height) into class folders, each another crop of an original with noise."""
    if folder.is_dir():
        return
    images = originals(source)
    for number in range(classes):
        (folder / f"class-{number}").mkdir(parents=True)

    def write(number: int) -> None:
        random = np.random.default_rng(number)
        image = images[number % len(images)]
        width, height = image.size
        left, top = (float(random.uniform(0, 0.2 * side)) for side in (width, height))
        box = (left, top, left + 0.8 * width, top + 0.8 * height)
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box), np.float32)
        noisy = pixels + random.normal(0, NOISE, pixels.shape).astype(np.float32)
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        (folder / f"class-{number % classes}" / f"{number:07d}.jpg").write_bytes(stream.getvalue())

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, range(count)):
            pass


def mean_bytes(folder: Path) -> float:
    """Return the mean size of the files in a folder."""
    sizes = list(_sizes(folder))
    return sum(sizes) / len(sizes)


def _sizes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*.jpg"):
        yield file.stat().st_size
