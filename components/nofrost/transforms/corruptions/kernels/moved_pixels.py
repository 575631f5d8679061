"""Loops that move whole pixels of an image: to neighbours, to places between pixels, and into blocks."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.transforms.corruptions.compilation import made_by
from nofrost.transforms.corruptions.kernels import HIGHEST, ONE, TWO, ZERO, blending_kernel, kernel, rounded
from nofrost.transforms.corruptions.taps import Taps

HALF = np.float32(0.5)


@kernel
def interleaved(planes):
    """Return the pixels [H * W, 3] of planes [C, H, W], grey ones three times."""
    channels, height, width = planes.shape
    flat = planes.reshape(channels, height * width)
    reds, greens, blues = flat[0], flat[channels // 2], flat[channels - 1]
    pixels = np.empty((height * width, 3), np.float32)
    for place in range(height * width):
        pixels[place, 0] = reds[place]
        pixels[place, 1] = greens[place]
        pixels[place, 2] = blues[place]
    return pixels


def taken_from_neighbours(images: Tensor, numbers: Tensor, steps: Tensor, reach: int) -> Tensor:
    """Let pixels take the place of others as glass blur does, one after the other.

    Args:
        numbers: int32 [N, passes, H * W], of the steps that lead to what is taken.
        steps: int32, in a flattened plane.
        reach: distance from the border within which pixels stay.
    """
    return made_by(_taken_from_neighbours, images, numbers, settings=(steps.numpy(), reach))


@kernel
def _taken_from_neighbours(planes, numbers, result, steps, reach):
    channels, height, width = planes.shape
    pixels = interleaved(planes)
    for turn in range(numbers.shape[0]):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                place = row * width + column
                source = place + steps[numbers[turn, place]]
                pixels[place, 0] = pixels[source, 0]
                pixels[place, 1] = pixels[source, 1]
                pixels[place, 2] = pixels[source, 2]
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                result[channel, row, column] = pixels[row * width + column, channel]


def sampled(images: Tensor, down: Tensor, right: Tensor, *, at_centre: bool) -> Tensor:
    """Return the images at places between pixels (see :func:`~filters.sampled`).

    Args:
        down, right: [N, H, W], of each pixel of the result.
        at_centre: whether the border pixel is mirrored at its centre, or at its outer edge.
    """
    return made_by(_sampled, images, down, right, settings=(ZERO if at_centre else HALF,))


@blending_kernel
def _sampled(planes, down, right, result, edge):
    channels, height, width = planes.shape
    pixels = _with_neighbours(planes)
    y, x, mixed = np.empty(width, np.float32), np.empty(width, np.float32), np.empty((width, 3), np.float32)
    first = np.empty(width, np.uint32)
    bottom, side = np.float32(height - 1), np.float32(width - 1)
    for row in range(height):
        for column in range(width):
            y[column] = _inside(down[row, column], bottom, edge)
            x[column] = _inside(right[row, column], side, edge)
        for column in range(width):
            top, left = np.int32(y[column]), np.int32(x[column])
            first[column] = top * (width + 1) + left
            y[column] -= np.float32(top)
            x[column] -= np.float32(left)
        for column in range(width):
            upper, share = first[column], y[column] * x[column]
            lower = upper + width + 1
            one, two, three = ONE - y[column] - x[column] + share, x[column] - share, y[column] - share
            red = one * pixels[upper, 0] + two * pixels[upper + 1, 0]
            green = one * pixels[upper, 1] + two * pixels[upper + 1, 1]
            blue = one * pixels[upper, 2] + two * pixels[upper + 1, 2]
            red += three * pixels[lower, 0] + share * pixels[lower + 1, 0]
            green += three * pixels[lower, 1] + share * pixels[lower + 1, 1]
            blue += three * pixels[lower, 2] + share * pixels[lower + 1, 2]
            mixed[column, 0], mixed[column, 1], mixed[column, 2] = red, green, blue
        for channel in range(channels):
            for column in range(width):
                result[channel, row, column] = mixed[column, channel]


@kernel
def _with_neighbours(planes):
    """Return the pixels [(H + 1) * (W + 1), 3], so that the last ones have neighbours too, which have no weight."""
    channels, height, width = planes.shape
    pixels = np.empty(((height + 1) * (width + 1), 3), np.float32)
    for row in range(height + 1):
        start = row * (width + 1)
        reds = planes[0, min(row, height - 1)]
        greens, blues = planes[channels // 2, min(row, height - 1)], planes[channels - 1, min(row, height - 1)]
        for column in range(width):
            pixels[start + column, 0] = reds[column]
            pixels[start + column, 1] = greens[column]
            pixels[start + column, 2] = blues[column]
        for channel in range(3):
            pixels[start + width, channel] = pixels[start + width - 1, channel]
    return pixels


@kernel
def _inside(place, last, edge):
    """Mirror a place beyond the border, `edge` away from the centre of the last pixel, as often as it takes."""
    period = TWO * (last + TWO * edge)
    if place < -period or place > TWO * period:
        # So far away a step of a period may be less than floats can tell apart.
        place = min(max(place - np.floor(place / period) * period, ZERO), period)
    while place < -edge or place > last + edge:
        place = -edge - edge - place if place < -edge else last + edge + (last + edge - place)
    return min(max(place, ZERO), last)


def pixelated(images: Tensor, shrinking: tuple[Taps, Taps], growth: tuple[Taps, Taps]) -> Tensor:
    """Return the means of boxes, rounded to levels in both directions as Pillow does, and grown back.

    Args:
        shrinking: along rows and columns: equal weights of neighbouring values.
        growth: along rows and columns, a choice of one value each.
    """
    boxes = [_boxes(taps) for taps in shrinking]
    places = [taps.indices[:, 0].numpy().astype(np.uint32) for taps in growth]
    return made_by(_pixelated, images, settings=(*boxes, *places))


def _boxes(taps: Taps) -> NDArray[np.uint32]:
    """Return the first value of each box and the one after its last, [2, size of the result]."""
    weighted = taps.weights > 0
    first = taps.indices.gather(1, weighted.int().argmax(dim=1, keepdim=True))[:, 0]
    return torch.stack((first, first + weighted.sum(dim=1))).numpy().astype(np.uint32)


@kernel
def _pixelated(planes, result, row_boxes, column_boxes, rows, columns):
    channels, height, width = planes.shape
    boxes = column_boxes.shape[1]
    levels, before = np.empty(width, np.int32), np.empty(width + 1, np.int32)
    means, sums, line = np.empty(boxes, np.float32), np.empty(boxes, np.float32), np.empty(width, np.float32)
    before[0] = 0
    for channel in range(channels):
        row = 0
        for box in range(row_boxes.shape[1]):
            top, bottom = row_boxes[0, box], row_boxes[1, box]
            for place in range(boxes):
                sums[place] = ZERO
            for source in range(top, bottom):
                for column in range(width):
                    levels[column] = np.int32(rounded(planes[channel, source, column] * HIGHEST))
                total = 0
                for column in range(width):
                    total += levels[column]
                    before[column + 1] = total
                for place in range(boxes):
                    means[place] = np.float32(before[column_boxes[1, place]] - before[column_boxes[0, place]])
                for place in range(boxes):
                    sums[place] += _mean(means[place], column_boxes[1, place] - column_boxes[0, place])
            for place in range(boxes):
                means[place] = _mean(sums[place], bottom - top) / HIGHEST
            for column in range(width):
                line[column] = means[columns[column]]
            while row < height and rows[row] == box:
                for column in range(width):
                    result[channel, row, column] = line[column]
                row += 1


@kernel
def _mean(total, count):
    """Return the mean of so many whole numbers, halves rounded up.

    A quarter more of a number keeps it away from where the rounding of floats would matter.
    """
    number = np.float32(count)
    return np.float32(np.int32((total + number * HALF + np.float32(0.25)) / number))
