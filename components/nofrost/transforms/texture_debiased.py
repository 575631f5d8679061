"""Texture-debiased augmentation (Hermann et al. 2020): images whose colour and texture carry less information.

Settings are those of wang2022's code: crops of 64 % to 100 % of the area, a mirror image with probability 1/2, and with
probability 1/2 colour jitter (probability 0.8) and loss of colour (probability 0.2). Hermann et al. add noise and
blur, which that code leaves out; here both are options, with amplitudes of our own. Every image of a batch gets its
own random settings.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.transforms.crops import crop_boxes, flip, flips, resized_crop

CROP_AREA = (0.64, 1.0)
COLOUR, JITTER, GREY, BLUR, NOISE = 0.5, 0.8, 0.2, 0.5, 0.5  # probabilities
BRIGHTNESS = CONTRAST = SATURATION = (0.2, 1.8)
HUE = (-0.2, 0.2)  # of a full turn of the colour circle
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
BLUR_SIGMA = (0.1, 2.0)  # pixels of an image of 224; the upper end is never below 1 pixel
NOISE_STD = (0.0, 0.1)


def texture_debiased(
    images: Tensor, generator: torch.Generator, *, horizontal_flip: bool = True, noise: bool = False, blur: bool = False
) -> Tensor:
    """Return texture-debiased versions of the images.

    Args:
        images: float [N, C, H, W] in [0, 1] with C 1 or 3, on any device. For C = 1 only brightness and contrast of
            the colour distortions apply.
        generator: a generator on the CPU; all randomness comes from it, so that devices agree.
        horizontal_flip: mirrors half of the images.
        noise, blur: those of Hermann et al., each for half of the images.

    Returns:
        New images of the same shape, type and device, in [0, 1].
    """
    n = len(images)
    images = crop_and_mirror(images, horizontal_flip, generator)
    coloured = _chance(n, COLOUR, generator)
    images = jitter_colours(images, coloured & _chance(n, JITTER, generator), generator)
    images = _where(coloured & _chance(n, GREY, generator), luminance(images).expand_as(images), images)
    if blur:
        largest = max(1.0, BLUR_SIGMA[1] * min(images.shape[2:]) / 224)
        blurred = gaussian_blur(images, _uniform((n,), (BLUR_SIGMA[0], largest), generator), largest)
        images = _where(_chance(n, BLUR, generator), blurred, images)
    if noise:
        std = _uniform((n,), NOISE_STD, generator) * _chance(n, NOISE, generator)
        values = torch.randn(images.shape, generator=generator) * std[:, None, None, None]
        images = images + values.to(images)
    return images.clamp(0, 1)


def crop_and_mirror(images: Tensor, mirror: bool, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image at the image's size (bilinear); `mirror` flips it with probability 1/2."""
    n = len(images)
    height, width = images.shape[2:]
    images = resized_crop(images, crop_boxes(n, CROP_AREA, generator), (height, width))
    return flip(images, flips(n, generator)) if mirror else images


def jitter_colours(images: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images with those in `mask` (bool [N], CPU) jittered in brightness, contrast, saturation and hue.

    The order is drawn for each image. Grey images (C = 1) are jittered in brightness and contrast only.
    """
    steps: list[tuple[Callable[[Tensor, Tensor], Tensor], tuple[float, float]]]
    steps = [(adjust_brightness, BRIGHTNESS), (adjust_contrast, CONTRAST)]
    if images.shape[1] == 3:
        steps += [(adjust_saturation, SATURATION), (adjust_hue, HUE)]
    n = len(images)
    amounts = torch.stack([_uniform((n,), bounds, generator) for _, bounds in steps], dim=1)
    order = torch.rand(n, len(steps), generator=generator).argsort(dim=1)
    images = images.clone()
    for position in range(len(steps)):
        for number, (adjust, _) in enumerate(steps):
            rows = (mask & (order[:, position] == number)).nonzero()[:, 0]
            amount = amounts[rows, number].view(-1, 1, 1, 1).to(images)
            rows = rows.to(images.device)
            images[rows] = adjust(images[rows], amount)
    return images


def luminance(images: Tensor) -> Tensor:
    """Return the brightness [N, 1, H, W] of colour images; grey images as they are."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


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


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(shape, generator=generator)


def _chance(n: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability


def _where(mask: Tensor, these: Tensor, others: Tensor) -> Tensor:
    return torch.where(mask.to(others.device)[:, None, None, None], these, others)
