"""Loops that blur an image: zooms, motion and Gaussians."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.transforms.corruptions.compilation import made_by
from nofrost.transforms.corruptions.kernels import ONE, TWO, ZERO, blending_kernel
from nofrost.transforms.corruptions.kernels.moved_pixels import interleaved
from nofrost.transforms.corruptions.taps import Taps

# Taps that are added at once: each line of a sum is read and written fewer times.
TOGETHER = 4


def zoom_mean(images: Tensor, zooms: Sequence[tuple[Taps, Taps]]) -> Tensor:
    """Return the mean of the image, counted twice, and of its linear zooms along rows and columns."""
    rows, columns = ([taps[axis] for taps in zooms] for axis in (0, 1))
    tables = [
        np.stack([table.numpy() for table in tables], axis=1)
        for axis in (rows, columns)
        for tables in ([taps.indices for taps in axis], [taps.weights for taps in axis])
    ]
    return made_by(_zoom_mean, images, settings=tables)


@blending_kernel
def _zoom_mean(planes, result, rows, row_weights, columns, column_weights):
    channels, height, width = planes.shape
    pixels = interleaved(planes).reshape(height, width * 3)
    zooms = rows.shape[1]
    lines, mean = np.zeros((zooms, width * 3 + 3), np.float32), np.empty((width, 3), np.float32)
    share = ONE / np.float32(2 + zooms)
    for row in range(height):
        for zoom in range(zooms):
            upper, lower = pixels[rows[row, zoom, 0]], pixels[rows[row, zoom, 1]]
            above, below = row_weights[row, zoom, 0], row_weights[row, zoom, 1]
            line = lines[zoom]
            for place in range(width * 3):
                line[place] = above * upper[place] + below * lower[place]
        for column in range(width):
            red, green, blue = (
                TWO * pixels[row, 3 * column],
                TWO * pixels[row, 3 * column + 1],
                TWO * pixels[row, 3 * column + 2],
            )
            for zoom in range(zooms):
                # The second value is the next one, or has no weight.
                left = 3 * np.uint32(columns[column, zoom, 0])
                before, after = column_weights[column, zoom, 0], column_weights[column, zoom, 1]
                red += before * lines[zoom, left]
                green += before * lines[zoom, left + 1]
                blue += before * lines[zoom, left + 2]
                red += after * lines[zoom, left + 3]
                green += after * lines[zoom, left + 4]
                blue += after * lines[zoom, left + 5]
            mean[column, 0], mean[column, 1], mean[column, 2] = red * share, green * share, blue * share
        for channel in range(channels):
            for column in range(width):
                result[channel, row, column] = mean[column, channel]


def sum_of_views(
    images: Tensor, downs: NDArray[np.int64], rights: NDArray[np.int64], weights: NDArray[np.float64]
) -> Tensor:
    """Return the sum of each image's pixels at `downs` and `rights` [N, K] from a place, times `weights` [K]."""
    # Whole groups of taps; those that are added have no weight.
    more = -len(weights) % TOGETHER
    shares = np.pad(weights, (0, more)).astype(np.float32)
    lines, shifts = (torch.from_numpy(np.pad(each, ((0, 0), (0, more)))) for each in (downs, rights))
    reach = int(np.abs(rights).max())
    return made_by(_sum_of_views, images, lines, shifts, settings=(shares, reach))


@blending_kernel
def _sum_of_views(planes, downs, rights, result, weights, reach):
    channels, height, width = planes.shape
    wide = np.empty((height, width + 2 * reach), np.float32)
    for channel in range(channels):
        for row in range(height):
            for column in range(reach):
                wide[row, column] = planes[channel, row, 0]
                wide[row, reach + width + column] = planes[channel, row, width - 1]
            for column in range(width):
                wide[row, reach + column] = planes[channel, row, column]
        for row in range(height):
            total = result[channel, row]
            for column in range(width):
                total[column] = ZERO
            for tap in range(0, weights.size, TOGETHER):
                one = wide[min(max(row + downs[tap], 0), height - 1), reach + rights[tap] :]
                two = wide[min(max(row + downs[tap + 1], 0), height - 1), reach + rights[tap + 1] :]
                three = wide[min(max(row + downs[tap + 2], 0), height - 1), reach + rights[tap + 2] :]
                four = wide[min(max(row + downs[tap + 3], 0), height - 1), reach + rights[tap + 3] :]
                a, b, c, d = weights[tap], weights[tap + 1], weights[tap + 2], weights[tap + 3]
                for column in range(width):
                    total[column] += (a * one[column] + b * two[column]) + (c * three[column] + d * four[column])


def gaussian(images: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Filter images along height and width with taps that are as many on both sides, and alike in all places."""
    tables = [each.numpy() for each in (rows.indices, rows.weights[0], columns.indices, columns.weights[0])]
    return made_by(_gaussian, images, settings=tables)


@blending_kernel
def _gaussian(planes, result, rows, row_weights, columns, column_weights):
    channels, height, width = planes.shape
    across, along = row_weights.size // 2, column_weights.size // 2
    wide = np.empty(width + 2 * along, np.float32)
    line = wide[along : along + width]
    for channel in range(channels):
        plane = planes[channel]
        for row in range(height):
            middle, weight = plane[rows[row, across]], row_weights[across]
            for column in range(width):
                line[column] = weight * middle[column]
            for tap in range(across - 1, -1, -2):
                # Two pairs of taps at once; where there is one pair left, it is read twice and counted once.
                other = max(tap - 1, 0)
                top, bottom = plane[rows[row, tap]], plane[rows[row, 2 * across - tap]]
                upper, lower = plane[rows[row, other]], plane[rows[row, 2 * across - other]]
                weight, second = row_weights[tap], row_weights[other] if tap else ZERO
                for column in range(width):
                    line[column] += weight * (top[column] + bottom[column]) + second * (upper[column] + lower[column])
            # Beyond the border are values of the line itself.
            for tap in range(along):
                wide[tap] = line[columns[0, tap]]
                wide[along + width + tap] = line[columns[width - 1, along + 1 + tap]]
            total, weight = result[channel, row], column_weights[along]
            for column in range(width):
                total[column] = weight * line[column]
            for tap in range(along - 1, -1, -2):
                other = max(tap - 1, 0)
                left, right = wide[tap:], wide[2 * along - tap :]
                further, furthest = wide[other:], wide[2 * along - other :]
                weight, second = column_weights[tap], column_weights[other] if tap else ZERO
                for column in range(width):
                    total[column] += weight * (left[column] + right[column]) + second * (
                        further[column] + furthest[column]
                    )
