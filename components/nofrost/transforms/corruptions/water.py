"""The film of water of spatter: drops that shine at their edges.

The published code builds it from operations of OpenCV on 8-bit images; here they are done for a batch, on any device.
The distance to the nearest edge is Euclidean, where OpenCV sums steps to neighbours (2 % off at most).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.filters import padded_by

LOW, HIGH = 50, 150  # of the gradient, between which an edge is kept only with a stronger one beside it
FARTHEST = 20  # pixels from an edge, beyond which all is alike
STRAIGHT = 0.41421356  # tangent of 22.5 degrees, below which a gradient is along the rows or the columns
EMBOSS = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def water_film(liquid: Tensor) -> Tensor:
    """Return how strongly water shines, float32 [N, 1, H, W] in [0, 1], from `liquid`, whole levels 0 to 255."""
    if is_compiled(liquid):
        from nofrost.transforms.corruptions.kernels import film

        return film.water_film(liquid, LOW, HIGH, STRAIGHT, FARTHEST)
    distance = _box_mean(edge_distance(edges(liquid))).floor_()
    relief = _weighted(equalised(distance), EMBOSS).clamp_(0, 255)
    shine = _box_mean(relief).round_().mul_(liquid)
    return shine.div_(shine.amax(dim=(2, 3), keepdim=True).clamp(min=1))


def edges(levels: Tensor) -> Tensor:
    """Return the edges, bool [N, 1, H, W], by Canny's algorithm (Canny 1986) as OpenCV does it.

    The gradient is Sobel's and its size the sum of the absolute values of its parts. All are whole numbers of 16 bits,
    and so is truth where it chooses between them: -1 and 0.
    """
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate").short()
    across = padded[..., 2:] - padded[..., :-2]
    right = torch.add(across[..., :-2, :], across[..., 2:, :]).add_(across[..., 1:-1, :], alpha=2)
    along = padded[..., 2:, :] - padded[..., :-2, :]
    down = torch.add(along[..., :-2], along[..., 2:]).add_(along[..., 1:-1], alpha=2)
    falling = torch.bitwise_xor(right, down).bitwise_right_shift_(15)
    steep, flat = down.abs_(), right.abs_()
    size = steep + flat
    around = F.pad(size, (1, 1, 1, 1))
    height, width = levels.shape[2:]

    def beside(rows: int, columns: int) -> Tensor:
        return around[:, :, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    # An edge is one pixel wide: stronger than its neighbours in the direction of the gradient, of four directions.
    rival = torch.maximum(beside(-1, -1), beside(1, 1))
    _choose(rival, torch.maximum(beside(-1, 1), beside(1, -1)), falling)
    for one, other, before, after in ((steep, flat, (0, -1), (0, 1)), (flat, steep, (-1, 0), (1, 0))):
        limit = other.float().mul_(STRAIGHT).ceil_().short()
        straight = torch.sub(one, limit, out=limit).bitwise_right_shift_(15)
        _choose(rival, torch.maximum(beside(*before), beside(*after) - 1), straight)
    return _with_weak(size, rival)


def _choose(values: Tensor, others: Tensor, where: Tensor) -> None:
    """Take the others where `where` is -1, and not where it is 0; `others` is overwritten."""
    values.bitwise_xor_(others.bitwise_xor_(values).bitwise_and_(where))


def _with_weak(size: Tensor, rival: Tensor) -> Tensor:
    """Return the strong edges, bool [N, 1, H, W], and the weak ones that touch them, directly or through others.

    Edges are where the gradient's size is above that of its rival. They are followed on the CPU, a few at a time.
    """
    sizes, rivals = size.cpu().numpy()[:, 0], rival.cpu().numpy()[:, 0]
    strong = sizes > np.maximum(rivals, HIGH)
    edge = sizes > np.maximum(rivals, LOW)
    border = ((0, 0), (1, 1), (1, 1))
    left = np.pad(edge & ~strong, border)
    width, weak = left.shape[2], np.flatnonzero(left)
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    found = weak[np.pad(strong, border).ravel()[weak[:, None] + around].any(axis=1)]
    of_pixel = left.reshape(-1)
    while len(found):
        of_pixel[found] = False
        beside = (found[:, None] + around).ravel()
        found = np.unique(beside[of_pixel[beside]])
    kept = edge & ~left[:, 1:-1, 1:-1]
    return torch.from_numpy(kept[:, None]).to(size.device)


def edge_distance(edge: Tensor) -> Tensor:
    """Return the distance of each pixel to the nearest edge, at most FARTHEST, float32 [N, 1, H, W], from bool."""
    # Whole numbers of 16 bits, with so wide a border of FARTHEST that shifts need no care.
    height, width = edge.shape[2:]
    padded = F.pad(edge, (0, FARTHEST, FARTHEST, FARTHEST)).to(torch.int16).mul_(-FARTHEST).add_(FARTHEST)
    lines = padded.view(-1)
    # Along the rows, where the nearest in 2k steps is the nearer of two in k steps
    further = torch.empty_like(lines)
    for step in (1, 2, 4, 8, 16):
        torch.add(lines, step, out=further)
        for to, source in ((lines[step:], further[:-step]), (lines[:-step], further[step:])):
            torch.minimum(to, source, out=to)
    # Then the least square with a step along the columns, as long as one can be the least
    rows = padded.mul_(padded)[:, 0]
    nearest = rows[:, FARTHEST:-FARTHEST].clone()
    bound = torch.empty_like(nearest)
    for step in range(1, FARTHEST):
        if step % 4 == 1 and int(nearest[..., :width].max()) <= step**2:
            break
        before, after = (rows[:, start : start + height] for start in (FARTHEST - step, FARTHEST + step))
        torch.minimum(before, after, out=bound).add_(step**2)
        torch.minimum(nearest, bound, out=nearest)
    return nearest[:, None, :, :width].float().sqrt_()


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
