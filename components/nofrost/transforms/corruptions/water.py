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
    relief = _convolved(equalised(distance), torch.tensor(EMBOSS)).clamp_(0, 255)
    film = liquid * _box_mean(relief).round_()
    return film / film.amax(dim=(2, 3), keepdim=True).clamp(min=1)


def edges(levels: Tensor) -> Tensor:
    """Return the edges, bool [N, 1, H, W], by Canny's algorithm (Canny 1986) as OpenCV does it.

    The gradient is Sobel's and its size the sum of the absolute values of its parts.
    """
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=levels.device)
    right, down = F.conv2d(padded, torch.stack((sobel, sobel.T))[:, None]).unsqueeze(2).unbind(1)
    size = right.abs() + down.abs()
    around = F.pad(size, (1, 1, 1, 1))
    height, width = levels.shape[2:]

    def neighbour(below: int, beside: int) -> Tensor:
        return around[:, :, 1 + below : 1 + below + height, 1 + beside : 1 + beside + width]

    # An edge is one pixel wide: as strong as its neighbours in the direction of the gradient, of four directions.
    across, steep = down.abs() < 0.41421356 * right.abs(), down.abs() > 2.41421356 * right.abs()
    falling = right * down < 0
    highest = torch.where(
        across,
        (size > neighbour(0, -1)) & (size >= neighbour(0, 1)),
        torch.where(
            steep,
            (size > neighbour(-1, 0)) & (size >= neighbour(1, 0)),
            torch.where(
                falling,
                (size > neighbour(-1, 1)) & (size > neighbour(1, -1)),
                (size > neighbour(-1, -1)) & (size > neighbour(1, 1)),
            ),
        ),
    )
    candidates = highest & (size > LOW)
    kept = highest & (size > HIGH)
    while True:
        spread = candidates & (F.max_pool2d(kept.float(), 3, stride=1, padding=1) > 0)
        if torch.equal(spread, kept):
            return kept
        kept = spread


def edge_distance(edge: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearest edge, at most FARTHEST, float32 [N, 1, H, W]."""
    far = float(FARTHEST**2)
    along: Tensor = torch.where(edge, 0.0, far)
    # Squared distances along the columns, then the least sum with those along the rows
    for dimension in (2, 3):
        nearest = along.clone()
        length = along.shape[dimension]
        for step in range(1, min(FARTHEST, length)):
            low, high = along.narrow(dimension, 0, length - step), along.narrow(dimension, step, length - step)
            part = nearest.narrow(dimension, step, length - step)
            torch.minimum(part, low + step**2, out=part)
            part = nearest.narrow(dimension, 0, length - step)
            torch.minimum(part, high + step**2, out=part)
        along = nearest
    return along.sqrt_()


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
    return _convolved(images, torch.full((3, 3), 1 / 9))


def _convolved(images: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(padded_by(images, 1), kernel.to(images)[None, None])
