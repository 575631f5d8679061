"""Random crop and horizontal flip of a batch, one draw for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def random_crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Pad images [N, C, H, W] with zeros on all sides and cut each at a random place back to H x W."""
    n, _, height, width = images.shape
    offsets = torch.randint(0, 2 * padding + 1, (2, n), generator=generator, device=generator.device)
    tops, lefts = offsets.to(images.device)
    rows = tops[:, None] + torch.arange(height, device=images.device)
    columns = lefts[:, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    picked = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picked, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def random_horizontal_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each of the images [N, C, H, W] left to right with probability one half."""
    flips = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    return torch.where(flips.to(images.device)[:, None, None, None], images.flip(3), images)
