"""The moves of Square: windows of one sign per channel (linf), or bumps that take the budget of other windows (l2)."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import Tensor

from nofrost.attacks.norms import per_image
from nofrost.attacks.random import Noise, widest_float

DRAW_BITS = 31
"""Number of bits of the random integers of a step."""

# Share of the radius to use, so that rounding of pixels does not lead out of the ball
_AIM = 1 - 1e-6


@dataclass(frozen=True)
class _Change:
    """New pixels for a window of each image, and those they replace: [N, C, side, side], at `positions` [N, pixels]."""

    positions: Tensor
    before: Tensor
    after: Tensor


class Walk(ABC):
    """State of the random search of each image. A step writes into windows of `points` and copies nothing else.

    Args:
        clean: [N, C, H, W] in [0, 1].
        points: [N, C, H, W], the current images; changed in place.
        eps: radius of the ball, more than 0.
    """

    def __init__(self, clean: Tensor, points: Tensor, eps: float) -> None:
        self.points = points.contiguous()
        self._clean = clean
        self._eps = eps
        self._changes: list[_Change] = []
        self._room = torch.tensor(clean.shape[2:], device=clean.device)
        self._offsets: dict[int, Tensor] = {}

    @classmethod
    @abstractmethod
    def begin(cls, clean: Tensor, eps: float, noise: Noise) -> Self:
        """Return a walk at a random start."""

    def __getitem__(self, rows: Tensor) -> Self:
        """Return the walk of some of the images, between two steps: `rows` is [M] int64."""
        return type(self)(self._clean[rows], self.points[rows], self._eps)

    @staticmethod
    @abstractmethod
    def draws(channels: int) -> int:
        """Return how many random numbers a step takes for an image."""

    @abstractmethod
    def side(self, share: float) -> int:
        """Return the side of a window of about this `share` of the pixels, at most the shorter side of the image."""

    @abstractmethod
    def _plan(self, side: int, draws: Tensor) -> list[_Change]:
        """Return the changes of a step, in the order in which they are written."""

    def step(self, side: int, draws: Tensor) -> None:
        """Change windows of this `side` in every image according to random `draws` ([N, ...] int64)."""
        self._changes = self._plan(side, draws)
        for change in self._changes:
            self._write(change.positions, change.after)

    def settle(self, accepted: Tensor) -> None:
        """Undo the last step in the images that are not `accepted` ([N] bool)."""
        for change in self._changes:
            self._write(change.positions, torch.where(per_image(accepted), change.after, change.before))

    def _corner(self, side: int, draws: Tensor) -> Tensor:
        """Return top and left, [N, 2], of a window drawn uniformly among those inside the image."""
        return (draws * (self._room - side + 1)) >> DRAW_BITS

    def _positions(self, side: int, corner: Tensor) -> Tensor:
        """Return where the pixels of windows are in flattened images, [N, C * side * side]."""
        if side not in self._offsets:
            self._offsets[side] = self._offsets_of(side)
        first = corner[:, 0] * self._clean.shape[3] + corner[:, 1]
        return first[:, None] + self._offsets[side]

    def _offsets_of(self, side: int) -> Tensor:
        channels, height, width = self._clean.shape[1:]
        pixels = torch.arange(channels * height * width, device=self._clean.device).view(channels, height, width)
        return pixels[:, :side, :side].flatten()

    def _read(self, images: Tensor, positions: Tensor, side: int) -> Tensor:
        return images.flatten(1).gather(1, positions).view(images.shape[0], -1, side, side)

    def _write(self, positions: Tensor, pixels: Tensor) -> None:
        self.points.view(self.points.shape[0], -1).scatter_(1, positions, pixels.flatten(1))


class LinfWalk(Walk):
    """Keep every pixel at an end of its range; a step sets a window to one end, channel by channel.

    Andriushchenko et al. 2020, algorithm 2. A step that would change nothing uses the other ends instead, where the
    authors' code draws again and AutoAttack's wastes the query.
    """

    @classmethod
    def begin(cls, clean: Tensor, eps: float, noise: Noise) -> Self:
        """Start from vertical stripes, one pixel wide."""
        channels, _, width = clean.shape[1:]
        stripes = noise.uniform((channels, 1, width), clean.dtype).sign()
        return cls(clean, (clean + eps * stripes).clamp_(0, 1), eps)

    @staticmethod
    def draws(channels: int) -> int:
        return 2 + channels

    def side(self, share: float) -> int:
        height, width = self._clean.shape[2:]
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)

    def _plan(self, side: int, draws: Tensor) -> list[_Change]:
        positions = self._positions(side, self._corner(side, draws[:, :2]))
        clean, before = self._read(self._clean, positions, side), self._read(self.points, positions, side)
        shift = self._eps * _signs(draws[:, 2:], clean.dtype)
        after = (clean + shift).clamp_(0, 1)
        idle = per_image((after == before).flatten(1).all(1))
        return [_Change(positions, before, torch.where(idle, (clean - shift).clamp_(0, 1), after))]


class L2Walk(Walk):
    """Move budget between windows: a step resets one and gives its budget, and what is unspent, to another.

    Andriushchenko et al. 2020, algorithm 3. As there, each channel keeps its budget, so that nothing changes outside
    the two windows; AutoAttack's code gives every channel the sum of all and shrinks the whole change to the budget.
    """

    def __init__(self, clean: Tensor, points: Tensor, eps: float) -> None:
        super().__init__(clean, points, eps)
        self._spent = self._spent_if_accepted = _energy(points - clean).sum(1)

    @classmethod
    def begin(cls, clean: Tensor, eps: float, noise: Noise) -> Self:
        """Start from a grid of bumps, five or more along the shorter side where that has the pixels."""
        channels, height, width = clean.shape[1:]
        side = max(min(height, width) // 5, 1)
        rows, columns = height // side, width // side
        signs = noise.stream(0).uniform((channels, rows, columns, 1, 1), clean.dtype).sign()
        turned = noise.stream(1).uniform((1, rows, columns, 1, 1)) > 0
        grid = signs * _turned(bump(side).to(clean), turned) * (eps * _AIM / (channels * rows * columns) ** 0.5)
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        points = clean.clone()
        inner = points[:, :, top : top + rows * side, left : left + columns * side]
        inner += grid.transpose(3, 4).reshape(inner.shape)
        return cls(clean, points.clamp_(0, 1), eps)

    @staticmethod
    def draws(channels: int) -> int:
        return 5 + channels

    def side(self, share: float) -> int:
        """Return an odd side, at least 3 where the image has the pixels."""
        height, width = self._clean.shape[2:]
        return min(max(round(math.sqrt(share * height * width)), 3) | 1, (min(height, width) - 1) | 1)

    def settle(self, accepted: Tensor) -> None:
        super().settle(accepted)
        self._spent = torch.where(accepted, self._spent_if_accepted, self._spent)

    def _plan(self, side: int, draws: Tensor) -> list[_Change]:
        corner, other = self._corner(side, draws[:, :2]), self._corner(side, draws[:, 2:4])
        target, source = self._positions(side, corner), self._positions(side, other)
        clean, before = self._read(self._clean, target, side), self._read(self.points, target, side)
        source_clean, source_before = self._read(self._clean, source, side), self._read(self.points, source, side)
        change = before - clean
        energy = _energy(source_before - source_clean) + _energy(change.masked_fill(_shared(side, corner, other), 0))
        unused = ((self._eps * _AIM) ** 2 - self._spent).clamp(min=0)
        turned = per_image(draws[:, 4] >> (DRAW_BITS - 1)) > 0
        pattern = _signs(draws[:, 5:], clean.dtype) * _turned(bump(side).to(clean), turned) + _unit(change)
        length = (energy + unused[:, None] / clean.shape[1]).sqrt().to(clean)[:, :, None, None]
        after = (clean + length * _unit(pattern)).clamp_(0, 1)
        self._spent_if_accepted = self._spent - energy.sum(1) + _energy(after - clean).sum(1)
        # the target is written last, so that it wins where the windows overlap
        return [_Change(source, source_before, source_clean), _Change(target, before, after)]


WALKS: dict[str, type[Walk]] = {"linf": LinfWalk, "l2": L2Walk}


def _turned(pattern: Tensor, turned: Tensor) -> Tensor:
    return torch.where(turned, pattern.T, pattern)


def _signs(draws: Tensor, dtype: torch.dtype) -> Tensor:
    """Return signs [N, C, 1, 1] from draws [N, C]."""
    return ((draws >> (DRAW_BITS - 1)) * 2 - 1).to(dtype)[:, :, None, None]


def _energy(change: Tensor) -> Tensor:
    """Return the sum of squares per image and channel, [N, C], in a precision that allows updating it step by step."""
    return change.square().sum((2, 3), dtype=widest_float(change.device))


def _unit(change: Tensor) -> Tensor:
    """Return `change` with every channel at unit length, or zero."""
    length: Tensor = torch.linalg.vector_norm(change, dim=(2, 3), keepdim=True)
    return change / length.clamp(min=1e-12)


def _shared(side: int, corner: Tensor, other: Tensor) -> Tensor:
    """Return which pixels of the windows at `corner` are in those at `other` too, [N, 1, side, side] bool."""
    ahead = (corner - other)[:, :, None] + torch.arange(side, device=corner.device)
    along = (ahead >= 0) & (ahead < side)
    return (along[:, 0, :, None] & along[:, 1, None, :])[:, None]


@cache
def bump(side: int) -> Tensor:
    """Return two smooth hills of opposite sign, one above the other: [side, side], of unit length.

    Andriushchenko et al. 2020, section 3.4 and figure 3.
    """
    upper = side // 2
    hills = torch.cat([_hill(upper, side), -_hill(side - upper, side)])
    unit: Tensor = hills / hills.norm()
    return unit


def _hill(height: int, width: int) -> Tensor:
    """Return [height, width] of unit length: stacked squares, the larger the lower."""
    down, across = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    ring = torch.maximum(down.abs()[:, None], across.abs())
    squares = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).square()
    hill = squares.flip(0).cumsum(0).flip(0)[ring]
    unit: Tensor = hill / hill.norm()
    return unit
