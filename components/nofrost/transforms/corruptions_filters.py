"""Corruptions that blur, pixelate or compress (Hendrycks & Dietterich 2019 §3)."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Images = NDArray[np.float32]
_TRUNCATE = 4.0  # standard deviations after which a Gaussian kernel ends (scikit-image's value)


def gaussian_blur(images: Images, sigma: float) -> Images:
    """Blur with a Gaussian of `sigma` pixels; beyond the border the nearest pixel is repeated."""
    blurred: Images = ndimage.gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest", truncate=_TRUNCATE)
    return blurred


def defocus_blur(images: Images, radius: float, softness: float) -> Images:
    """Blur with a disk of `radius` pixels, itself smoothed by a Gaussian of `softness` pixels; the border mirrors."""
    kernel = torch.from_numpy(disk_kernel(radius, softness))
    pad = kernel.shape[-1] // 2
    n, channels, height, width = images.shape
    planes = torch.from_numpy(images).reshape(n * channels, 1, height, width)
    padded = F.pad(planes, (pad, pad, pad, pad), mode="reflect")
    blurred: Images = F.conv2d(padded, kernel[None, None]).reshape(images.shape).numpy()
    return blurred


@lru_cache(maxsize=16)
def disk_kernel(radius: float, softness: float) -> Images:
    """Return the square kernel of :func:`defocus_blur`, which sums to 1.

    The disk holds the pixels whose centres are within `radius`. The Gaussian has 3 x 3 taps up to a radius of 8 and
    5 x 5 beyond (as in the published sets).
    """
    taps = 1 if radius <= 8 else 2
    half = math.floor(radius) + taps
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float64)
    gaussian = np.exp(-(np.arange(-taps, taps + 1) ** 2) / (2 * softness**2))
    gaussian /= gaussian.sum()
    soft = ndimage.convolve1d(ndimage.convolve1d(disk, gaussian, axis=0, mode="constant"), gaussian, 1, mode="constant")
    return as_float32(soft / soft.sum())


def pixelate(images: Images, scale: float) -> Images:
    """Shrink to `scale` of the size by averaging boxes of pixels and grow back, as Pillow's BOX filter does.

    Pillow works on 8-bit levels and rounds halves up after the pass over columns and after that over rows.
    """
    height, width = images.shape[2:]
    shrink_rows, grow_rows = _box_matrices(height, int(height * scale))
    shrink_columns, grow_columns = _box_matrices(width, int(width * scale))
    levels = np.rint(images * 255)
    narrow = np.floor(levels @ shrink_columns.T + 0.5)
    small = np.floor(shrink_rows @ narrow + 0.5)
    return as_float32(grow_rows @ small @ grow_columns.T / 255)


@lru_cache(maxsize=32)
def _box_matrices(size: int, small: int) -> tuple[Images, Images]:
    """Return the matrices [small, size] and [size, small] of Pillow's BOX filter along one axis.

    The filter is linear in the pixels of a line, so what it does to the lines of the unit matrix says all.
    """
    return _box_matrix(size, small), _box_matrix(small, size)


def _box_matrix(source: int, target: int) -> Images:
    unit = Image.fromarray(np.eye(source, dtype=np.float32))
    return np.array(unit.resize((source, target), Image.Resampling.BOX), dtype=np.float32)


def jpeg_compression(images: Images, quality: int) -> Images:
    """Write and read every image as JPEG of this `quality`.

    The codec takes one image at a time, so this is a loop over images, run in threads (Pillow frees the interpreter
    lock while it works).
    """
    pixels = (to_levels(images) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    with ThreadPoolExecutor() as pool:
        compressed = np.stack(list(pool.map(_jpeg, pixels, repeat(quality))))
    return as_float32(compressed.transpose(0, 3, 1, 2) / np.float32(255))


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as compressed:
        return np.asarray(compressed, dtype=np.uint8).reshape(image.shape)


def to_levels(images: Images) -> Images:
    """Return the images in [0, 1], rounded to the 256 levels of an 8-bit image."""
    return as_float32(np.rint(np.clip(images, 0, 1) * 255) / 255)


def as_float32(images: NDArray[Any]) -> Images:
    """Return the values in single precision, in one block of memory."""
    return np.ascontiguousarray(images, dtype=np.float32)
