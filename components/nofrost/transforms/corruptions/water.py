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
STRAIGHT = 0.41421356  # tangent of 22.5 degrees, below which a gradient is along the rows or the columns
EMBOSS = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def water_film(liquid: Tensor) -> Tensor:
    """Return how strongly water shines, float32 [N, 1, H, W] in [0, 1], from `liquid`, whole levels 0 to 255."""
    distance = _box_mean(edge_distance(edges(liquid))).floor_()
    relief = _weighted(equalised(distance), EMBOSS).clamp_(0, 255)
    film = _box_mean(relief).round_().mul_(liquid)
    return film.div_(film.amax(dim=(2, 3), keepdim=True).clamp(min=1))


def edges(levels: Tensor) -> Tensor:
    """Return the edges, bool [N, 1, H, W], by Canny's algorithm (Canny 1986) as OpenCV does it.

    The gradient is Sobel's and its size the sum of the absolute values of its parts.
    """
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    across, along = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    right = (across[..., :-2, :] + across[..., 2:, :]).add_(across[..., 1:-1, :], alpha=2)
    down = (along[..., :-2] + along[..., 2:]).add_(along[..., 1:-1], alpha=2)
    # Truth is written as 1 and 0: floats are compared and joined several times as fast as booleans choose.
    truth = torch.mul(right, down)
    falling = truth.lt_(0).clone()
    steep, flat = down.abs_(), right.abs_()
    size = steep + flat
    around = F.pad(size, (1, 1, 1, 1))
    height, width = levels.shape[2:]

    def above(below: int, beside: int, *, strictly: bool = True) -> Tensor:
        """Return where the gradient is above that of a neighbour."""
        neighbour = around[:, :, 1 + below : 1 + below + height, 1 + beside : 1 + beside + width]
        return torch.gt(size, neighbour, out=truth) if strictly else torch.ge(size, neighbour, out=truth)

    # An edge is one pixel wide: as strong as its neighbours in the direction of the gradient, of four directions.
    highest = (1 - falling).mul_(above(-1, -1)).mul_(above(1, 1))
    highest.add_(falling.mul_(above(-1, 1)).mul_(above(1, -1)))
    for one, other, beside in ((steep, flat, (0, 1)), (flat, steep, (1, 0))):
        straight = torch.lt(one, torch.mul(other, STRAIGHT, out=truth), out=falling)
        highest.mul_(torch.sub(1, straight, out=truth))
        back = tuple(-step for step in beside)
        highest.add_(straight.mul_(above(*back)).mul_(above(*beside, strictly=False)))
    strength = highest.mul_(size)
    return _with_weak(strength > HIGH, strength > LOW)


def _with_weak(kept: Tensor, edge: Tensor) -> Tensor:
    """Return the edges [N, 1, H, W] that are kept, and those that touch them, directly or through others."""
    width = kept.shape[3] + 2
    around = torch.tensor([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1], device=kept.device)
    whole = F.pad(kept, (1, 1, 1, 1)).flatten()
    left = F.pad(edge & ~kept, (1, 1, 1, 1)).flatten()
    weak = left.nonzero()
    found = weak[whole.index_select(0, (weak + around).flatten()).view(-1, 8).any(1)]
    last_found_by = torch.empty(len(left), dtype=torch.int64, device=kept.device)
    while len(found):
        left.index_fill_(0, found[:, 0], False)
        beside = (found + around).flatten()
        beside = beside[left.index_select(0, beside)]
        # A pixel may have been found from several; one of them leads on from it.
        number = torch.arange(len(beside), device=kept.device)
        last_found_by[beside] = number
        found = beside[last_found_by.index_select(0, beside) == number][:, None]
    return edge & ~left.view(*kept.shape[:2], -1, width)[..., 1:-1, 1:-1]


def edge_distance(edge: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearest edge, at most FARTHEST, float32 [N, 1, H, W]."""
    # Along the rows, where the nearest in 2k steps is the nearer of two in k steps; then the least square with a step
    # along the columns. All are whole numbers up to FARTHEST squared.
    nearest = FARTHEST - FARTHEST * edge.short()
    for step in (1, 2, 4, 8, 16):
        _lower(nearest, nearest + step, 3, step)
    nearest = nearest.square_()
    rows = nearest.clone()
    buffer = torch.empty_like(rows)
    for step in range(1, FARTHEST):
        _lower(nearest, torch.add(rows, step**2, out=buffer), 2, step)
    return nearest.float().sqrt_()


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
    bins = levels.int().flatten(1) + 256 * torch.arange(n, device=levels.device, dtype=torch.int32)[:, None]
    histogram = torch.bincount(bins.flatten(), minlength=256 * n).view(n, 256)
    first = (histogram > 0).int().argmax(dim=1, keepdim=True)
    lowest = histogram.gather(1, first)
    above = histogram.cumsum(1) - lowest
    scale = 255 / (size - lowest).clamp(min=1).float()
    table = (above * scale).round_().clamp_(0, 255)
    # An image of a single level stays as it is.
    table = torch.where(lowest == size, torch.arange(256, device=levels.device, dtype=torch.float32), table)
    return table.flatten().index_select(0, bins.flatten()).view(levels.shape)


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
