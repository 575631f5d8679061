"""Shortest steps onto hyperplanes that stay in the pixel box, the inner problem of FAB (Croce & Hein 2020).

The paper sorts the pixels for it; `Hyperplanes` finds the same solution with Newton's method, in a few passes without a
sort.
"""

import torch
from torch import Tensor

_ORDERS = {"linf": torch.inf, "l2": 2.0}
_DUAL_ORDERS = {"linf": 1.0, "l2": 2.0}


def length(change: Tensor, norm: str) -> Tensor:
    """Return the `norm` (``linf`` or ``l2``) of each change [N, C, H, W], [N]."""
    lengths: Tensor = torch.linalg.vector_norm(change.flatten(1), ord=_ORDERS[norm], dim=1)
    return lengths


def distance_to_plane(normal: Tensor, rise: Tensor, norm: str) -> Tensor:
    """Return how long the step of `Hyperplanes` would be without the box, [N]: infinite where the normal is zero."""
    dual = torch.linalg.vector_norm(normal.flatten(1), ord=_DUAL_ORDERS[norm], dim=1)
    return torch.where(dual > 0, rise.abs() / dual, torch.inf)


class Hyperplanes:
    """Parallel hyperplanes for each image, all with one normal.

    Args:
        normal: [N, C, H, W].
        norm: ``linf`` or ``l2``, by which the length of a step is measured.
    """

    def __init__(self, normal: Tensor, norm: str) -> None:
        weight = normal.flatten(1)
        self._sign = weight.sign()
        self._size = weight.abs()
        # the largest weight becomes 1, so that no square of a vanishing gradient underflows
        largest = self._size.amax(1)
        self._scale = torch.where(largest > 0, largest, 1.0)
        self._size /= self._scale[:, None]
        self._linf = norm == "linf"
        self._slope = self._size if self._linf else self._size.square()

    def step(self, points: Tensor, rise: Tensor) -> Tensor:
        """Return the smallest `change` with ``<normal, change> = rise`` and ``points + change`` in [0, 1].

        Where the plane misses the box, the change leads to the corner nearest to the plane. Pixels with zero weight in
        the normal do not change.

        Args:
            points: [N, C, H, W] in [0, 1].
            rise: [N], of either sign; an infinite one asks for the corner.
        """
        # Every pixel moves at its pace (1 for linf, its weight for l2) until it reaches the box, all for the same time.
        # The rise is a concave, piecewise linear function of time, so Newton's method reaches it from below in finitely
        # many steps, each of which divides the product of gap and slope by four or more
        sign = self._sign * torch.where(rise < 0, -1.0, 1.0)[:, None].to(points.dtype)
        # 1 - x uphill and x downhill, without masks, which are slow on CPUs
        room = sign.add(1).div_(2).addcmul_(sign, points.flatten(1), value=-1)
        time = _time(self._slope, self._size * room, rise.abs() / self._scale)[:, None]
        moved = torch.minimum(time if self._linf else time * self._size, room)
        return moved.mul_(sign).view_as(points)


def _time(slope: Tensor, most: Tensor, rise: Tensor) -> Tensor:
    """Return the least t [N] at which the sum over pixels of min(t `slope`, `most`) is `rise`; very long where never.

    Args:
        slope: [N, D], at least 0.
        most: [N, D], at least 0.
        rise: [N], at least 0.
    """
    number = torch.finfo(slope.dtype)
    time, pace, missing = torch.zeros_like(rise), slope.sum(1), rise
    while True:
        # at most the largest number, not infinite: times zero it must be zero
        later = torch.where(pace > 0, time + missing / pace, number.max).clamp(max=number.max)
        if not (later > time * (1 + 4 * number.eps)).any():
            return time
        time = later.maximum(time)
        reach = time[:, None] * slope
        missing = rise - torch.minimum(reach, most).sum(1)
        pace = torch.sub(most, reach, out=reach).relu_().sign_().mul_(slope).sum(1)
