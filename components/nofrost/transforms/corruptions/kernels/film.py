"""Loops of the film of water of spatter (see water.py, which does the same for a batch on any device).

Whole numbers are held as float32, in which loops work on more values at once than in numba's integers of 64 bits.
"""

import numpy as np
from torch import Tensor

from nofrost.transforms.corruptions.compilation import made_by
from nofrost.transforms.corruptions.kernels import HIGHEST, ONE, TWO, ZERO, kernel, rounded

NINTH = np.float32(1 / 9)


def water_film(liquid: Tensor, low: float, high: float, straight: float, farthest: int) -> Tensor:
    """Return what :func:`~water.water_film` returns, with its constants."""
    limits = [np.float32(each) for each in (low, high, straight)]
    return made_by(_water_film, liquid[:, 0], settings=(*limits, farthest))[:, None]


@kernel
def _water_film(liquid, film, low, high, straight, farthest):
    height, width = liquid.shape
    distance = _edge_distance(_edges(liquid, low, high, straight), farthest)
    levels = _box_mean(distance)
    for row in range(height):
        for column in range(width):
            levels[row, column] = np.float32(np.int32(levels[row, column]))
    _equalise(levels)
    mean = _box_mean(_relief(levels))
    highest = np.ones(width, np.float32)
    for row in range(height):
        for column in range(width):
            film[row, column] = rounded(mean[row, column]) * liquid[row, column]
        for column in range(width):
            highest[column] = max(highest[column], film[row, column])
    greatest = _greatest(highest)
    for row in range(height):
        for column in range(width):
            film[row, column] /= greatest


@kernel
def _bordered(values, at_edge):
    """Return the values with a border of one, mirrored at the border pixel's centre, or, `at_edge`, repeated."""
    height, width = values.shape
    wide = np.empty((height + 2, width + 2), np.float32)
    step = 0 if at_edge else 1
    for row in range(-1, height + 1):
        inner = step if row < 0 else height - 1 - step if row == height else row
        source, target = values[inner], wide[row + 1]
        target[0], target[width + 1] = source[step], source[width - 1 - step]
        for column in range(width):
            target[column + 1] = source[column]
    return wide


@kernel
def _edges(levels, low, high, straight):
    """Return 2 at strong edges, 1 at weak ones that are not kept, 0 elsewhere; uint8 with a border of one."""
    height, width = levels.shape
    wide = _bordered(levels, True)
    across, along = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    size = np.zeros((height + 2, width + 2), np.float32)
    for row in range(height):
        above, beside, below = wide[row], wide[row + 1], wide[row + 2]
        rights, downs, sizes = across[row], along[row], size[row + 1]
        for column in range(width):
            right = (above[column + 2] - above[column]) + (below[column + 2] - below[column])
            right += TWO * (beside[column + 2] - beside[column])
            down = (below[column] - above[column]) + (below[column + 2] - above[column + 2])
            down += TWO * (below[column + 1] - above[column + 1])
            rights[column], downs[column] = right, down
            sizes[column + 1] = abs(right) + abs(down)
    kind = np.zeros((height + 2, width + 2), np.uint8)
    stack, count = np.empty((height * width, 2), np.int32), 0
    for row in range(height):
        above, beside, below = size[row], size[row + 1], size[row + 2]
        for column in range(width):
            strength = beside[column + 1]
            if strength <= low:
                continue
            right, down = across[row, column], along[row, column]
            flat, steep = abs(right), abs(down)
            # An edge is one pixel wide: stronger than its neighbours in the direction of the gradient, of four
            # directions.
            if flat < np.ceil(steep * straight):
                rival = max(above[column + 1], below[column + 1] - ONE)
            elif steep < np.ceil(flat * straight):
                rival = max(beside[column], beside[column + 2] - ONE)
            elif (right < ZERO) != (down < ZERO):
                rival = max(above[column + 2], below[column])
            else:
                rival = max(above[column], below[column + 2])
            if strength > rival:
                kind[row + 1, column + 1] = 1
                if strength > high:
                    kind[row + 1, column + 1] = 2
                    stack[count, 0], stack[count, 1] = row + 1, column + 1
                    count += 1
    # Weak edges that touch strong ones, directly or through others, are kept.
    while count:
        count -= 1
        row, column = stack[count, 0], stack[count, 1]
        for near in range(row - 1, row + 2):
            for beside_it in range(column - 1, column + 2):
                if kind[near, beside_it] == 1:
                    kind[near, beside_it] = 2
                    stack[count, 0], stack[count, 1] = near, beside_it
                    count += 1
    return kind


@kernel
def _edge_distance(kind, farthest):
    """Return the distance of each pixel to the nearest edge, at most `farthest`."""
    height, width = kind.shape[0] - 2, kind.shape[1] - 2
    far = np.float32(farthest * farthest)
    # Squares of the distances along the rows, with so wide a border that steps need no care
    rows, nearest = np.empty((height + 2 * farthest, width), np.float32), np.empty((height, width), np.float32)
    for row in range(farthest):
        for column in range(width):
            rows[row, column] = rows[height + farthest + row, column] = far
    for row in range(height):
        edge, squares = kind[row + 1], rows[row + farthest]
        previous = -farthest
        for column in range(width):
            if edge[column + 1] == 2:
                previous = column
            away = np.float32(column - previous)
            squares[column] = min(away * away, far)
        following = width + farthest
        for column in range(width - 1, -1, -1):
            if edge[column + 1] == 2:
                following = column
            away = np.float32(following - column)
            squares[column] = nearest[row, column] = min(away * away, squares[column])
    # Then the least square with a step along the columns, as long as one can be the least
    highest = np.empty(width, np.float32)
    for step in range(1, farthest):
        square = np.float32(step * step)
        for column in range(width):
            highest[column] = ZERO
        for row in range(height):
            target, before, after = nearest[row], rows[row + farthest - step], rows[row + farthest + step]
            for column in range(width):
                target[column] = min(target[column], min(before[column], after[column]) + square)
            for column in range(width):
                highest[column] = max(highest[column], target[column])
        if _greatest(highest) <= np.float32((step + 1) * (step + 1)):
            break
    for row in range(height):
        for column in range(width):
            nearest[row, column] = np.sqrt(nearest[row, column])
    return nearest


@kernel
def _greatest(values):
    greatest = values[0]
    for place in range(values.size):
        greatest = max(greatest, values[place])
    return greatest


@kernel
def _box_mean(values):
    height, width = values.shape
    wide = _bordered(values, False)
    mean = np.empty((height, width), np.float32)
    line = np.empty(width + 2, np.float32)
    for row in range(height):
        above, beside, below, target = wide[row], wide[row + 1], wide[row + 2], mean[row]
        for column in range(width + 2):
            line[column] = above[column] + beside[column] + below[column]
        for column in range(width):
            target[column] = (line[column] + line[column + 1] + line[column + 2]) * NINTH
    return mean


@kernel
def _equalise(levels):
    """Spread whole levels so that their histogram is even; those of an image of a single one stay."""
    flat = levels.reshape(levels.size)
    histogram = np.zeros(256, np.int64)
    for place in range(flat.size):
        histogram[np.int32(flat[place])] += 1
    first = 0
    while histogram[first] == 0:
        first += 1
    lowest = histogram[first]
    if lowest == flat.size:
        return
    scale = HIGHEST / np.float32(flat.size - lowest)
    table = np.empty(256, np.float32)
    total = -lowest
    for level in range(256):
        total += histogram[level]
        table[level] = min(max(rounded(np.float32(total) * scale), ZERO), HIGHEST)
    for place in range(flat.size):
        flat[place] = table[np.int32(flat[place])]


@kernel
def _relief(levels):
    """Return the levels embossed, cut to 0 to 255."""
    height, width = levels.shape
    wide = _bordered(levels, False)
    relief = np.empty((height, width), np.float32)
    for row in range(height):
        above, beside, below, target = wide[row], wide[row + 1], wide[row + 2], relief[row]
        for column in range(width):
            total = TWO * (below[column + 2] - above[column]) - above[column + 1] - beside[column]
            total += beside[column + 1] + beside[column + 2] + below[column + 1]
            target[column] = min(max(total, ZERO), HIGHEST)
    return relief
