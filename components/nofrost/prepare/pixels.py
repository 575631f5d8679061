"""Pixels of a dataset: batches of images, their resizing, and conversion of float images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.telemetry import Progress

BATCH_BYTES = 4_000_000
_RESIZED_PIXELS = 1 << 24  # at most, of one image before it is cropped


def batch_length(shape: tuple[int, int, int]) -> int:
    """Return how many images of `shape` (H, W, C) make a batch of about 4 MB."""
    return max(1, BATCH_BYTES // int(np.prod(shape)))


def reported(batches: Iterator[NDArray[np.uint8]], bar: Progress) -> Iterator[NDArray[np.uint8]]:
    """Yield batches uint8 [n, H, W, C] unchanged, and advance the bar by the images that were taken."""
    for batch in batches:
        yield batch
        bar.advance(len(batch))


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Return the central square of the image with its shorter side resized to `size` pixels (bicubic, antialiased)."""
    if image.size == (size, size):
        return image
    width, height = image.size
    shorter = min(width, height)
    # of a thin image only the centre is resized: all of it would take gigabytes
    longest = shorter * (_RESIZED_PIXELS // size**2)
    if max(width, height) > longest:
        left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
        image = image.crop((left, top, min(width, left + longest), min(height, top + longest)))
        width, height = image.size
    target = (round(width * size / shorter), round(height * size / shorter))
    resized = image.resize(target, Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return resized.crop((left, top, left + size, top + size))


def resize_batch(images: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Return images uint8 [n, H, W, C], C 1 or 3, as uint8 [n, size, size, C]; `size` None keeps them as they are."""
    if size is None or images.shape[1:3] == (size, size):
        return images
    channels = images.shape[3]
    flat = images[..., 0] if channels == 1 else images
    resized = [np.asarray(resize_and_crop(Image.fromarray(image), size)) for image in flat]
    return np.stack(resized).reshape(len(images), size, size, channels)


def to_levels(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return float images in [0, 1] as uint8 levels, rounded to the nearest; uint8 images as they are."""
    return images if images.dtype == np.uint8 else np.rint(images * 255.0).astype(np.uint8)
