"""Corruptions by random noise (Hendrycks & Dietterich 2019 §3), drawn for each image by itself.

The noise of an image is a function of (seed, corruption, severity, index of the image), so it does not depend on how
the images are split into batches. numpy's Philox generator is counter-based: a generator for one image costs some ten
microseconds, and the arithmetic on the images is done for the whole batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Generators = list[np.random.Generator]
Draw = Callable[[np.random.Generator, Images], NDArray[Any]]


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


def _draw(
    draw: Callable[[np.random.Generator, Images], NDArray[np.generic]], images: Images, rngs: Generators
) -> Images:
    noise = np.empty_like(images)
    for row, rng in enumerate(rngs):
        noise[row] = draw(rng, images[row])
    return noise
