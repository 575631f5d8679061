"""Loops that lay noise, water, snow, frost or fog over an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nofrost.transforms.colours import LUMINANCE
from nofrost.transforms.corruptions.compilation import for_each_image, new_result
from nofrost.transforms.corruptions.kernels import ONE, ZERO, blending_kernel, kernel

HALF = np.float32(0.5)
BRIGHTER = np.float32(1.5)


def flat(*tensors: Tensor) -> list[NDArray[Any]]:
    """Return arrays [N, C, H * W] of tensors [N, C, H, W]."""
    return [each.contiguous().flatten(2).numpy() for each in tensors]


def add_normal(images: Tensor, words: Tensor, shares: Tensor, deviation: float, *, relative: bool) -> Tensor:
    """Return the images plus normal numbers times `deviation`, and times the values themselves where `relative`.

    Args:
        words: int32, of 16 random bits for each value.
        shares: table of the normal distribution, float32 [2**16].
    """
    result = new_result(images)
    sources, numbers, results = (each.contiguous().view(len(images), -1).numpy() for each in (images, words, result))
    table, scale = shares.numpy(), np.float32(deviation)
    for_each_image(
        lambda image: _add_normal(sources[image], numbers[image], table, scale, relative, results[image]), len(images)
    )
    return result


@kernel
def _add_normal(values, words, table, deviation, relative, noisy):
    if relative:
        for place in range(values.size):
            noisy[place] = values[place] + deviation * values[place] * table[np.uint16(words[place])]
    else:
        for place in range(values.size):
            noisy[place] = values[place] + deviation * table[np.uint16(words[place])]


def add_tinted(images: Tensor, film: Tensor, tint: Tensor) -> Tensor:
    """Return images [N, C, H, W] plus a film [N, 1, H, W] times a tint [C]."""
    result = new_result(images)
    sources, films, results = flat(images, film, result)
    shares = tint.numpy()
    for_each_image(lambda image: _add_tinted(sources[image], films[image, 0], shares, results[image]), len(images))
    return result


@kernel
def _add_tinted(planes, film, tint, result):
    for channel in range(planes.shape[0]):
        for place in range(film.size):
            result[channel, place] = planes[channel, place] + film[place] * tint[channel]


def whiten(images: Tensor, flakes: Tensor, kept: float) -> Tensor:
    """Return the images whitened but for the share `kept`, with flakes [N, 1, H, W] and the same turned around."""
    result = new_result(images)
    sources, falling, results = flat(images, flakes, result)
    share, luminance = np.float32(kept), np.array(LUMINANCE if images.shape[1] == 3 else (1, 0, 0), np.float32)
    for_each_image(
        lambda image: _whiten(sources[image], falling[image, 0], luminance, share, results[image]), len(images)
    )
    return result


@blending_kernel
def _whiten(planes, flakes, luminance, kept, result):
    channels, size = planes.shape
    reds, greens, blues = planes[0], planes[channels // 2], planes[channels - 1]
    turned, whitened = flakes[::-1], kept - ONE
    for channel in range(channels):
        for place in range(size):
            value = planes[channel, place]
            lighter = max(value, _white(reds[place], greens[place], blues[place], luminance))
            result[channel, place] = value + whitened * (value - lighter) + (flakes[place] + turned[place])


@kernel
def _white(red, green, blue, luminance):
    """Rounded after each step as torch does: many sums of a grey image lie in the middle between two levels."""
    return (red * luminance[0] + green * luminance[1] + blue * luminance[2]) * BRIGHTER + HALF


def frosted(images: Tensor, textures: Tensor, corners: Tensor, kept: float, share: float) -> Tensor:
    """Return `kept` of the images plus `share` of a piece of a texture that goes on at its other end.

    Args:
        textures: float32 [C, textures, side, side].
        corners: [N, 3], the texture of each image and the first row and column of its piece.
    """
    result = new_result(images)
    sources, results, table, places = images.contiguous().numpy(), result.numpy(), textures.numpy(), corners.numpy()
    scales = np.float32(kept), np.float32(share)

    def frost(image: int) -> None:
        number, top, left = places[image]
        _frosted(sources[image], table[:, number], top, left, *scales, results[image])

    for_each_image(frost, len(images))
    return result


@kernel
def _frosted(planes, texture, top, left, kept, share, result):
    channels, height, width = planes.shape
    side = texture.shape[1]
    for channel in range(channels):
        for row in range(height):
            ice = texture[channel, (top + row) % side]
            done = 0
            while done < width:
                first = (left + done) % side
                end = min(width, done + side - first)
                shift = first - done
                for column in range(done, end):
                    result[channel, row, column] = planes[channel, row, column] * kept + share * ice[column + shift]
                done = end


def fogged(images: Tensor, clouds: Tensor, amount: float) -> Tensor:
    """Return images with `amount` of clouds [N, S, S], which are at least as large, the brightest value kept."""
    result = new_result(images)
    sources, skies, results = images.contiguous().numpy(), clouds.numpy(), result.numpy()
    for_each_image(lambda image: _fogged(sources[image], skies[image], np.float32(amount), results[image]), len(images))
    return result


@kernel
def _fogged(planes, cloud, amount, result):
    channels, height, width = planes.shape
    highest = np.zeros(width, np.float32)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                highest[column] = max(highest[column], planes[channel, row, column])
    brightest = ZERO
    for column in range(width):
        brightest = max(brightest, highest[column])
    scale = brightest / (brightest + amount)
    thickness = amount * scale
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                result[channel, row, column] = planes[channel, row, column] * scale + cloud[row, column] * thickness
