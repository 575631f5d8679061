"""Five procedural textures of ice on a pane, for frost.

A texture is the sum of needles, in clumps of one direction, and of clouds, in a tint of ice. Its mean and spread are
those of a photograph that the published frost uses; nothing else is.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.transforms.colours import luminance

SIDE = 512  # of a texture in pixels; it continues at its other end
DIRECTIONS = 8
CLUMP = 18  # width of a clump in pixels
# Mean of red, green and blue, and the standard deviation of all, in levels of 255
TINTS = (
    ((78, 149, 166), 18),
    ((201, 205, 214), 22),
    ((201, 205, 214), 22),
    ((138, 153, 165), 28),
    ((112, 123, 135), 43),
)
TEXTURES = len(TINTS)


@lru_cache(maxsize=4)
def frost_textures(scale: float, channels: int) -> Tensor:
    """Return all textures, shrunk to `scale`: float32 [channels, TEXTURES, side, side] in [0, 1], always the same."""
    return torch.stack([_texture(number, scale, channels) for number in range(TEXTURES)], dim=1)


def _texture(number: int, scale: float, channels: int) -> Tensor:
    mean, deviation = TINTS[number]
    side = round(SIDE * scale)
    texture = torch.tensor(mean).view(1, 3, 1, 1) + deviation * _ice(number)
    small = F.interpolate(texture / 255, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)
    return (luminance(small) if channels == 1 else small)[0]


@lru_cache(maxsize=TEXTURES)
def _ice(number: int) -> Tensor:
    """Return the brightness of texture `number`, [SIDE, SIDE], of mean 0 and deviation 1."""
    rng = np.random.Generator(np.random.Philox(number))
    down, right = torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]
    squared = down**2 + right**2
    length, breadth = rng.uniform(8, 16), rng.uniform(0.8, 1.4)  # of a needle in pixels
    clouds = _standardised(_filtered(rng, (squared + 1e-4) ** -0.6))
    needles, strongest = torch.zeros(SIDE, SIDE), torch.full((SIDE, SIDE), -math.inf)
    for angle in (math.pi * turn / DIRECTIONS for turn in range(DIRECTIONS)):
        along = math.cos(angle) * right + math.sin(angle) * down
        across = math.cos(angle) * down - math.sin(angle) * right
        spread = (along * length) ** 2 + (across * breadth) ** 2
        of_angle = _standardised(_filtered(rng, torch.exp(-2 * math.pi**2 * spread)))
        clumps = _filtered(rng, torch.exp(-2 * math.pi**2 * CLUMP**2 * squared))
        wins = clumps > strongest
        needles, strongest = torch.where(wins, of_angle.abs(), needles), torch.where(wins, clumps, strongest)
    return _standardised(0.6 * clouds + _standardised(needles))


def _filtered(rng: np.random.Generator, response: Tensor) -> Tensor:
    """Return white noise [SIDE, SIDE] with this response to frequencies."""
    noise = torch.from_numpy(rng.standard_normal((SIDE, SIDE), dtype=np.float32))
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=(SIDE, SIDE))
    return filtered


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()
