"""Loops that lay noise, water, snow, frost or fog over an image."""

import numpy as np
from torch import Tensor

from nofrost.transforms.colours import LUMINANCE
from nofrost.transforms.corruptions.compilation import made_by
from nofrost.transforms.corruptions.kernels import ONE, ZERO, blending_kernel, kernel

HALF = np.float32(0.5)
BRIGHTER = np.float32(1.5)


def add_normal(images: Tensor, words: Tensor, shares: Tensor, deviation: float, *, relative: bool) -> Tensor:
    """Return the images plus normal numbers times `deviation`, and times the values themselves where `relative`.

    Args:
        words: int32, of 16 random bits for each value.
        shares: table of the normal distribution, float32 [2**16].
    """
    settings = shares.numpy(), np.float32(deviation), relative
    return made_by(_add_normal, images.flatten(1), words.flatten(1), settings=settings).view(images.shape)


@kernel
def _add_normal(values, words, noisy, table, deviation, relative):
    if relative:
        for place in range(values.size):
            noisy[place] = values[place] + deviation * values[place] * table[np.uint16(words[place])]
    else:
        for place in range(values.size):
            noisy[place] = values[place] + deviation * table[np.uint16(words[place])]


def add_tinted(images: Tensor, film: Tensor, tint: Tensor) -> Tensor:
    """Return images [N, C, H, W] plus a film [N, 1, H, W] times a tint [C]."""
    return made_by(_add_tinted, images.flatten(2), film.flatten(1), settings=(tint.numpy(),)).view(images.shape)


@kernel
def _add_tinted(planes, film, result, tint):
    for channel in range(planes.shape[0]):
        for place in range(film.size):
            result[channel, place] = planes[channel, place] + film[place] * tint[channel]


def whiten(images: Tensor, flakes: Tensor, kept: float) -> Tensor:
    """Return the images whitened but for the share `kept`, with flakes [N, 1, H, W] and the same turned around."""
    luminance = np.array(LUMINANCE if images.shape[1] == 3 else (1, 0, 0), np.float32)
    settings = luminance, np.float32(kept)
    return made_by(_whiten, images.flatten(2), flakes.flatten(1), settings=settings).view(images.shape)


@blending_kernel
def _whiten(planes, flakes, result, luminance, kept):
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
    settings = textures.numpy(), np.float32(kept), np.float32(share)
    return made_by(_frosted, images, corners, settings=settings)


@kernel
def _frosted(planes, corner, result, textures, kept, share):
    channels, height, width = planes.shape
    number, top, left = corner[0], corner[1], corner[2]
    texture, side = textures[:, number], textures.shape[3]
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
    return made_by(_fogged, images, clouds, settings=(np.float32(amount),))


@kernel
def _fogged(planes, cloud, result, amount):
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
