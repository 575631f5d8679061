"""Loops over the values of an image: noise, and levels of 8 bits."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nofrost.transforms.corruptions.compilation import for_each_image, made_by
from nofrost.transforms.corruptions.kernels import HIGHEST, ONE, ZERO, kernel, rounded

UNIT = np.float32(2**-24)
# Shifts of the channels that are bytes of a number
GREEN, BLUE, BYTE = np.uint32(8), np.uint32(16), np.uint32(255)
TO_FLOAT = np.float32(2**23)


def round_to_levels(values: Tensor, levels: Tensor) -> None:
    """Write `values` [N, ...], cut to [0, 1] and rounded to the 256 levels of 8 bits, to `levels` of the same shape."""
    sources, results = values.contiguous().flatten(1).numpy(), levels.view(len(levels), -1).numpy()
    for_each_image(lambda image: _round_to_levels(sources[image], results[image]), len(values))


@kernel
def _round_to_levels(values, levels):
    for place in range(values.size):
        value = min(max(values[place], ZERO), ONE)
        levels[place] = rounded(value * HIGHEST) / HIGHEST


def shot_noise(images: Tensor, words: Tensor, table: Tensor, columns: int, photons: float) -> Tensor:
    """Return Poisson counts divided by `photons`, from 16 random bits a value and an alias table (see noise.py)."""
    settings = table.numpy(), columns, np.float32(photons)
    return made_by(_shot_noise, images.flatten(1), words.flatten(1), settings=settings).view(images.shape)


@kernel
def _shot_noise(values, words, noisy, table, columns, photons):
    for place in range(values.size):
        # Also of what is no image, as nothing checks the place in the table
        level = min(max(np.int32(rounded(values[place] * HIGHEST)), np.int32(0)), np.int32(255))
        position = np.uint32(words[place] * columns)
        column = position >> 16
        cell = table[np.uint32(level * columns + column)]
        count = column if (position & 0xFFFF) < (cell & 0xFFFF) else cell >> 16
        noisy[place] = np.float32(count) / photons


def impulse_noise(images: Tensor, numbers: Tensor, amount: float) -> Tensor:
    """Return the images with a share `amount` of the values set to 0 or 1, from 32 random bits a value."""
    borders = np.float32(amount / 2), np.float32(1 - amount / 2)
    return made_by(_impulse_noise, images.flatten(1), numbers.flatten(1), settings=borders).view(images.shape)


@kernel
def _impulse_noise(values, numbers, noisy, low, high):
    for place in range(values.size):
        uniform = (np.float32(numbers[place] >> 8) + TO_FLOAT) * UNIT
        noisy[place] = ONE if uniform < low else values[place] if uniform < high else ZERO


def changed_as_levels(images: Tensor, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Tensor:
    """Return images in [0, 1] of which each was rounded to levels, uint8 [H, W, 4] or [H, W], and changed in that form.

    The fourth byte of a pixel is unused; `change` keeps the shape.
    """
    channels, height, width = images.shape[1:]

    def changed(planes: NDArray[np.float32], result: NDArray[np.float32]) -> None:
        pixels = np.empty(height * width, np.uint32 if channels > 1 else np.uint8)
        _pixels_of_planes(planes, pixels)
        levels = pixels.view(np.uint8).reshape((height, width, 4) if channels > 1 else (height, width))
        _planes_of_pixels(change(levels).reshape(-1).view(pixels.dtype), result)

    return made_by(changed, images.flatten(2)).view(images.shape)


@kernel
def _pixels_of_planes(planes, pixels):
    """Put the channels of a pixel into the bytes of a number, the first into the lowest."""
    if planes.shape[0] == 1:
        for place in range(pixels.size):
            pixels[place] = _level(planes[0, place])
    else:
        for place in range(pixels.size):
            green, blue = _level(planes[1, place]) << GREEN, _level(planes[2, place]) << BLUE
            pixels[place] = _level(planes[0, place]) | green | blue


@kernel
def _level(value):
    return np.uint32(rounded(value * HIGHEST))


@kernel
def _planes_of_pixels(pixels, planes):
    if planes.shape[0] == 1:
        for place in range(pixels.size):
            planes[0, place] = np.float32(pixels[place]) / HIGHEST
    else:
        for place in range(pixels.size):
            pixel = pixels[place]
            planes[0, place] = np.float32(pixel & BYTE) / HIGHEST
            planes[1, place] = np.float32(pixel >> GREEN & BYTE) / HIGHEST
            planes[2, place] = np.float32(pixel >> BLUE & BYTE) / HIGHEST
