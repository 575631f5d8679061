"""Brightness, contrast, saturation, hue and blur of a batch, with an amount for each image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def luminance(images: Tensor) -> Tensor:
    """Return the brightness [N, 1, H, W] of colour images; grey images as they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel, None] * share for channel, share in enumerate(LUMINANCE))
    return red.add_(green).add_(blue)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images times `factor` [N, 1, 1, 1], clipped to [0, 1]."""
    return (images * factor).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Return the images, their distance from their own mean brightness times `factor` [N, 1, 1, 1], clipped."""
    mean = luminance(images).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, factor).clamp(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Return colour images, their distance from grey times `factor` [N, 1, 1, 1], clipped to [0, 1]."""
    return torch.lerp(luminance(images).expand_as(images), images, factor).clamp(0, 1)


def adjust_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Return colour images with all hues turned by `turn` [N, 1, 1, 1], in full turns, by way of HSV."""
    value, strongest = images.max(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    following = images.roll(-1, dims=1) - images.roll(-2, dims=1)  # g-b, b-r, r-g: by which primary is strongest
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    hue = 2 * strongest + following.gather(1, strongest) / safe + 6 * turn  # in sixths of a turn
    primaries = images.new_tensor((5.0, 3.0, 1.0)).view(1, 3, 1, 1)
    sector = (primaries + hue) % 6
    return value - chroma * torch.minimum(sector, 4 - sector).clamp(0, 1)


def gaussian_blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Return the images blurred by Gaussians of standard deviation `sigma` [N] (pixels, at most `largest`)."""
    n, channels, height, width = images.shape
    radius = min(math.ceil(3 * largest), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernels = torch.softmax(-(offsets**2) / (2 * sigma[:, None] ** 2), dim=1).repeat_interleave(channels, dim=0)
    kernels = kernels.to(images)[:, None, None]
    padded = F.pad(images, (radius,) * 4, mode="reflect").view(1, n * channels, height + 2 * radius, -1)
    rows = F.conv2d(padded, kernels, groups=n * channels)
    return F.conv2d(rows, kernels.transpose(2, 3), groups=n * channels).view(images.shape)
