"""Perlin noise of a batch (Perlin 1985), with gradients of its own for each image."""

import math

import torch
from torch import Tensor

from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import pixel_grid

OCTAVES = 5
GAIN = 1.5  # of a single octave


def perlin_turbulence(images: Tensor, draws: Draws, cell: float) -> Tensor:
    """Return the sum of the absolute values of OCTAVES of noise, [N, 1, H, W], each twice as fine and half as strong.

    Args:
        images: whose size the noise has.
        cell: side of a cell of the coarsest octave, in pixels.
    """
    total = torch.zeros(len(images), *images.shape[2:], device=images.device)
    for octave in range(OCTAVES):
        total += _noise(images, draws, cell / 2**octave).abs_() / 2**octave
    return total[:, None]


def _noise(images: Tensor, draws: Draws, cell: float) -> Tensor:
    """Return one octave, [N, H, W]: unit gradients at the corners of cells, blended along 3 t^2 - 2 t^3."""
    rows, columns = (axis.flatten() / cell for axis in pixel_grid(images))
    tops, lefts = rows.long(), columns.long()
    down, right = (rows - tops)[:, None], (columns - lefts)[None]
    corners = draws.uniform(int(tops[-1]) + 2, int(lefts[-1]) + 2, high=2 * math.pi)
    gradients = corners.sin(), corners.cos()

    def pull(below: int, beside: int) -> Tensor:
        at_corner = (gradient[:, tops + below][:, :, lefts + beside] for gradient in gradients)
        down_part, right_part = at_corner
        return down_part * (down - below) + right_part * (right - beside)

    ease_down, ease_right = (share * share * (3 - 2 * share) for share in (down, right))
    upper = torch.lerp(pull(0, 0), pull(0, 1), ease_right.expand_as(pull(0, 0)))
    lower = torch.lerp(pull(1, 0), pull(1, 1), ease_right.expand_as(upper))
    return GAIN * torch.lerp(upper, lower, ease_down.expand_as(upper))
