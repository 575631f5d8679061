"""Crop and horizontal flip of a batch, one draw for each image.

Draws and images are apart, so that processes that share a batch can draw for all of it and change their own part.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def crop_offsets(n: int, padding: int, generator: torch.Generator) -> Tensor:
    """Return where to cut n images that are padded by `padding` on all sides: [n, 2] from the top and the left."""
    return torch.randint(0, 2 * padding + 1, (2, n), generator=generator).T


def padded_crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Pad images [N, C, H, W] with zeros on all sides and cut each at its place in `offsets` [N, 2] back to H x W."""
    n, _, height, width = images.shape
    tops, lefts = offsets.T.to(images.device)
    rows = tops[:, None] + torch.arange(height, device=images.device)
    columns = lefts[:, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flips(n: int, generator: torch.Generator) -> Tensor:
    """Return which of n images to mirror, each with probability one half: bool [n]."""
    return torch.rand(n, generator=generator) < 0.5


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror those images [N, C, H, W] left to right that are `chosen` (bool [N])."""
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)
