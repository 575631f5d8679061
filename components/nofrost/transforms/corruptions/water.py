"""The film of water of spatter: drops that shine at their edges.

The published code builds it from operations of OpenCV on 8-bit images; here they are done for a batch, on any device.
The distance to the nearest edge is Euclidean, where OpenCV sums steps to neighbours (2 % off at most).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.transforms.corruptions.filters import padded_by

LOW, HIGH = 50, 150  # of the gradient, between which an edge is kept only with a stronger one beside it
FARTHEST = 20  # pixels from an edge, beyond which all is alike
EMBOSS = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def water_film(liquid: Tensor) -> Tensor:
    """Return how strongly water shines, float32 [N, 1, H, W] in [0, 1], from `liquid`, whole levels 0 to 255."""
    distance = _box_mean(edge_distance(edges(liquid))).floor_()
    relief = _weighted(equalised(distance), EMBOSS).clamp_(0, 255)
    film = _box_mean(relief).round_().mul_(liquid)
    return film / film.amax(dim=(2, 3), keepdim=True).clamp(min=1)


def edges(levels: Tensor) -> Tensor:
    """Return the edges, bool [N, 1, H, W], by Canny's algorithm (Canny 1986) as OpenCV does it.

    The gradient is Sobel's and its size the sum of the absolute values of its parts.
    """
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    across, along = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    right = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:]
    steep, flat = down.abs(), right.abs()
    size = steep + flat
    around = F.pad(size, (1, 1, 1, 1))
    height, width = levels.shape[2:]

    def neighbour(below: int, beside: int) -> Tensor:
        return around[:, :, 1 + below : 1 + below + height, 1 + beside : 1 + beside + width]

    # An edge is one pixel wide: as strong as its neighbours in the direction of the gradient, of four directions.
    highest = torch.where(
        steep < 0.41421356 * flat,
        (size > neighbour(0, -1)) & (size >= neighbour(0, 1)),
        torch.where(
            steep > 2.41421356 * flat,
            (size > neighbour(-1, 0)) & (size >= neighbour(1, 0)),
            torch.where(
                right * down < 0,
                (size > neighbour(-1, 1)) & (size > neighbour(1, -1)),
                (size > neighbour(-1, -1)) & (size > neighbour(1, 1)),
            ),
        ),
    )
    kept, weak = highest & (size > HIGH), highest & (size > LOW) & (size <= HIGH)
    while True:
        beside = kept.clone()
        beside[..., 1:] |= kept[..., :-1]
        beside[..., :-1] |= kept[..., 1:]
        near = beside.clone()
        near[..., 1:, :] |= beside[..., :-1, :]
        near[..., :-1, :] |= beside[..., 1:, :]
        joined = weak & near & ~kept
        if not joined.any():
            return kept
        kept = kept | joined


def edge_distance(edge: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearest edge, at most FARTHEST, float32 [N, 1, H, W]."""
    far = float(FARTHEST)
    # Along the columns, where the nearest in 2k steps is the nearer of two in k steps; then the least square with a
    # step along the rows
    nearest: Tensor = torch.where(edge, 0.0, far)
    for step in (1, 2, 4, 8, 16):
        _lower(nearest, nearest + step, 2, step)
    nearest = nearest.square_()
    columns = nearest.clone()
    buffer = torch.empty_like(columns)
    for step in range(1, FARTHEST):
        _lower(nearest, torch.add(columns, step**2, out=buffer), 3, step)
    return nearest.sqrt_()


def _lower(values: Tensor, bounds: Tensor, dimension: int, step: int) -> None:
    """Lower the values to those of `bounds` at `step` before and after them."""
    length = values.shape[dimension] - step
    if length > 0:
        for to, source in ((step, 0), (0, step)):
            part = values.narrow(dimension, to, length)
            torch.minimum(part, bounds.narrow(dimension, source, length), out=part)


def equalised(levels: Tensor) -> Tensor:
    """Return whole levels 0 to 255 spread so that their histogram is even, as OpenCV's equalizeHist does."""
    n, size = len(levels), levels[0].numel()
    values = levels.long().flatten(1)
    bins = torch.arange(n, device=levels.device)[:, None] * 256 + values
    histogram = torch.bincount(bins.flatten(), minlength=256 * n).view(n, 256)
    first = (histogram > 0).int().argmax(dim=1, keepdim=True)
    lowest = histogram.gather(1, first)
    above = histogram.cumsum(1) - lowest
    scale = 255 / (size - lowest).clamp(min=1).float()
    table = (above * scale).round_().clamp_(0, 255)
    # An image of a single level stays as it is.
    table = torch.where(lowest == size, torch.arange(256, device=levels.device, dtype=torch.float32), table)
    return table.gather(1, values).view(levels.shape)


def _box_mean(images: Tensor) -> Tensor:
    padded = padded_by(images, 1)
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]).mul_(1 / 9)


def _weighted(images: Tensor, kernel: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the sum of each pixel's neighbours by the weights of a kernel of 3 x 3."""
    height, width = images.shape[2:]
    padded, total = padded_by(images, 1), torch.zeros_like(images)
    for row, weights in enumerate(kernel):
        for column, weight in enumerate(weights):
            if weight:
                total.add_(padded[:, :, row : row + height, column : column + width], alpha=weight)
    return total
