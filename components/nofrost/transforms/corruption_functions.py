"""The functions behind the corruptions (Hendrycks & Dietterich 2019 §3): noise, filters, and brightness and colour.

Each takes images float32 [N, C, H, W] in [0, 1] and the parameters of a severity. Noise is drawn for each image by
itself, from generators that depend on (seed, corruption, severity, index of the image) alone, so it does not depend on
how the images are split into batches. numpy's Philox generator is counter-based: a generator for one image costs some
ten microseconds, and the arithmetic on the images is done for the whole batch.
"""

import hashlib
import io
import math
from collections.abc import Callable
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
Generators = list[np.random.Generator]
_TRUNCATE = 4.0  # standard deviations at which a Gaussian kernel is cut off (scikit-image's value)


def image_generators(seed: int, name: str, severity: int, indices: NDArray[np.int64]) -> Generators:
    """Return one generator for each image; equal arguments give equal noise."""
    digest = hashlib.sha256(f"{seed}/{name}/{severity}".encode()).digest()
    stream = int.from_bytes(digest[:8], "little")
    keys = indices.astype(np.int64).view(np.uint64)  # negative indices too are keys of their own
    return [np.random.Generator(np.random.Philox(key=np.array([stream, key], dtype=np.uint64))) for key in keys]


def gaussian_noise(images: Images, deviation: float, generators: Generators) -> Images:
    """Add normal noise of this standard deviation (in the [0, 1] range) to every value."""
    return images + np.float32(deviation) * _normal(images, generators)


def speckle_noise(images: Images, deviation: float, generators: Generators) -> Images:
    """Add normal noise whose standard deviation is `deviation` times the value itself."""
    return images + np.float32(deviation) * images * _normal(images, generators)


def shot_noise(images: Images, photons: float, generators: Generators) -> Images:
    """Replace every value v by a Poisson count of mean v * `photons`, divided by `photons`."""
    counts = _draw(lambda rng, image: rng.poisson(image * photons), images, generators)
    return counts / np.float32(photons)


def impulse_noise(images: Images, amount: float, generators: Generators) -> Images:
    """Set a share `amount` of all values, each channel by itself, to 0 or 1 with equal chance (salt and pepper)."""
    uniform = _draw(lambda rng, image: rng.random(image.shape, dtype=np.float32), images, generators)
    salt = np.where(uniform < amount / 2, np.float32(1), images)
    return np.where(uniform >= 1 - amount / 2, np.float32(0), salt)


def _normal(images: Images, generators: Generators) -> Images:
    return _draw(lambda rng, image: rng.standard_normal(image.shape, dtype=np.float32), images, generators)


def _draw(draw: Callable[[np.random.Generator, Images], NDArray[Any]], images: Images, rngs: Generators) -> Images:
    noise = np.empty_like(images)
    for row, rng in enumerate(rngs):
        noise[row] = draw(rng, images[row])
    return noise


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

    The filter is linear in the pixels of a line, so its matrix is its result on the unit matrix.
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


def brightness(images: Images, shift: float) -> Images:
    """Raise the value V of HSV (the largest channel) by `shift`, at most to 1; hue and saturation stay.

    Hue and saturation are kept exactly when all channels are scaled alike; black has neither and becomes grey.
    """
    value = images.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(shift), 1)
    black = value == 0
    scaled = images * (raised / np.where(black, 1, value))
    return as_float32(np.where(black, raised, scaled))


def contrast(images: Images, factor: float) -> Images:
    """Draw every value towards the mean of its channel in its image: the distance is multiplied by `factor`."""
    mean = images.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    return as_float32((images - mean) * factor + mean)


def saturate(images: Images, factor: float, shift: float) -> Images:
    """Change the saturation S of HSV to clip(S * `factor` + `shift`, 0, 1); hue and value stay.

    A pixel (r, g, b) is V - V * S * d, where d in [0, 1] is 1 for its smallest channel and 0 for its largest: d is the
    hue, and only S changes. Grey has no hue; by convention it is red (d = 0, 1, 1), so a positive `shift` reddens it.
    """
    value = images.max(axis=1, keepdims=True)
    spread = value - images.min(axis=1, keepdims=True)
    grey = spread == 0
    red = np.array([0, 1, 1], dtype=np.float32)[:, None, None]
    direction = np.where(grey, red, (value - images) / np.where(grey, 1, spread))
    saturation = spread / np.where(value == 0, 1, value)
    changed = np.clip(saturation * factor + shift, 0, 1)
    return as_float32(value - value * changed * direction)


def to_levels(images: Images) -> Images:
    """Return the images in [0, 1], rounded to the 256 levels of an 8-bit image."""
    return as_float32(np.rint(np.clip(images, 0, 1) * 255) / 255)


def as_float32(images: NDArray[Any]) -> Images:
    """Return the values in single precision, in one block of memory."""
    return np.ascontiguousarray(images, dtype=np.float32)
