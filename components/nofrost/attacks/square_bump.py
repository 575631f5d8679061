"""The pattern that Square's windows are filled with for l2."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def bump(side: int) -> Tensor:
    """Return two smooth hills of opposite sign, one above the other, [side, side] of unit length.

    Andriushchenko et al. 2020, section 3.4 and figure 3.
    """
    upper = side // 2
    hills = torch.cat([_hill(upper, side), -_hill(side - upper, side)])
    unit: Tensor = hills / hills.norm()
    return unit


def _hill(height: int, width: int) -> Tensor:
    """Return [height, width] of unit length: squares of growing size and shrinking height, one upon the other."""
    down, across = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    ring = torch.maximum(down.abs()[:, None], across.abs())
    squares = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).square()
    hill = squares.flip(0).cumsum(0).flip(0)[ring]
    unit: Tensor = hill / hill.norm()
    return unit
