"""Texture-debiased augmentation (Hermann et al. 2020): images whose colour and texture carry less information.

Settings are those of wang2022's code: crops of 64 % to 100 % of the area, a mirror image with probability 1/2, and with
probability 1/2 colour jitter (probability 0.8) and loss of colour (probability 0.2). Hermann et al. add noise and
blur, which that code leaves out; here both are options, with amplitudes of our own. Every image of a batch gets its
own random settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from nofrost.transforms.colours import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    luminance,
)
from nofrost.transforms.crops import crop_boxes, flip, flips, resized_crop

CROP_AREA = (0.64, 1.0)
COLOUR, JITTER, GREY, BLUR, NOISE = 0.5, 0.8, 0.2, 0.5, 0.5  # probabilities
BRIGHTNESS = CONTRAST = SATURATION = (0.2, 1.8)
HUE = (-0.2, 0.2)  # of a full turn of the colour circle
BLUR_SIGMA = (0.1, 2.0)  # pixels of an image of 224; the upper end is never below 1 pixel
NOISE_STD = (0.0, 0.1)

# In the order in which they are drawn; grey images have the first two alone.
Adjustment = Callable[[Tensor, Tensor], Tensor]
ADJUSTMENTS: tuple[tuple[Adjustment, tuple[float, float]], ...] = (
    (adjust_brightness, BRIGHTNESS),
    (adjust_contrast, CONTRAST),
    (adjust_saturation, SATURATION),
    (adjust_hue, HUE),
)


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
    images = crop_and_mirror(images, horizontal_flip, generator)
    n, channels = images.shape[:2]
    return Distortion.draw(n, channels, generator, noise=noise, blur=blur)(images)


def crop_and_mirror(images: Tensor, mirror: bool, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image at the image's size (bilinear); `mirror` flips it with probability 1/2."""
    n = len(images)
    height, width = images.shape[2:]
    images = resized_crop(images, crop_boxes(n, CROP_AREA, generator), (height, width))
    return flip(images, flips(n, generator)) if mirror else images


@dataclass(frozen=True)
class Distortion:
    """What is drawn for each of n images to change their colours, and with the options to blur them and add noise.

    Drawing and applying are separate, so that processes that share a batch can draw for all images and distort theirs,
    on the device that trains. Grey images are jittered in brightness and contrast only.

    Attributes:
        jittered, grey, blurred: bool [n], which images are.
        amounts, order: [n, k], of the k adjustments of colour, and the number of the one that comes first, second, ...
        sigmas: [n] in [0, 1], where between the bounds the width of the blur lies.
        noise_stds, noise_seeds: [n], standard deviation (0 for images without noise), and seed of the noise.
    """

    jittered: Tensor
    amounts: Tensor
    order: Tensor
    grey: Tensor
    sigmas: Tensor
    blurred: Tensor
    noise_stds: Tensor
    noise_seeds: Tensor

    @classmethod
    def draw(
        cls, n: int, channels: int, generator: torch.Generator, *, noise: bool = False, blur: bool = False
    ) -> Distortion:
        """Draw the distortion of n images; blur and noise come last, so that all else is equal without them."""
        chance = partial(_chance, n, generator)
        coloured = chance(COLOUR)
        jittered = coloured & chance(JITTER)
        adjustments = ADJUSTMENTS if channels == 3 else ADJUSTMENTS[:2]
        amounts = torch.stack([_uniform(n, bounds, generator) for _, bounds in adjustments], dim=1)
        order = torch.rand(n, len(adjustments), generator=generator).argsort(dim=1)
        grey = coloured & chance(GREY)
        none = torch.zeros(n)
        sigmas, blurred = (torch.rand(n, generator=generator), chance(BLUR)) if blur else (none, none.bool())
        stds, seeds = none, none.long()
        if noise:
            stds = _uniform(n, NOISE_STD, generator) * chance(NOISE)
            # A seed for each image, so that its noise does not depend on which others are distorted with it.
            seeds = torch.randint(2**63 - 1, (n,), generator=generator)
        return cls(jittered, amounts, order, grey, sigmas, blurred, stds, seeds)

    def __len__(self) -> int:
        return len(self.jittered)

    def __getitem__(self, rows: Tensor | slice) -> Distortion:
        """Return the distortion of these images alone."""
        return Distortion(*(getattr(self, field.name)[rows] for field in fields(self)))

    def where(self, mask: Tensor) -> Distortion:
        """Return the distortion that leaves the images outside `mask` (bool [n]) as they are."""
        return Distortion(
            self.jittered & mask,
            self.amounts,
            self.order,
            self.grey & mask,
            self.sigmas,
            self.blurred & mask,
            self.noise_stds * mask,
            self.noise_seeds,
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return the n images (float [n, C, H, W] in [0, 1], on any device) distorted, in [0, 1]."""
        images = jitter_colours(images, self.jittered, self.amounts, self.order)
        images = _where(self.grey, luminance(images).expand_as(images), images)
        if self.blurred.any():
            largest = max(1.0, BLUR_SIGMA[1] * min(images.shape[2:]) / 224)
            sigmas = BLUR_SIGMA[0] + (largest - BLUR_SIGMA[0]) * self.sigmas
            images = _where(self.blurred, gaussian_blur(images, sigmas, largest), images)
        for row in self.noise_stds.nonzero()[:, 0].tolist():
            generator = torch.Generator().manual_seed(int(self.noise_seeds[row]))
            images[row] += (torch.randn(images.shape[1:], generator=generator) * self.noise_stds[row]).to(images)
        return images.clamp(0, 1)


def jitter_colours(images: Tensor, mask: Tensor, amounts: Tensor, order: Tensor) -> Tensor:
    """Return the images with those in `mask` (bool [N], CPU) adjusted in colour.

    Args:
        amounts: [N, k] of the first k of :data:`ADJUSTMENTS`.
        order: [N, k], the number of the adjustment that comes first, second, ...
    """
    images = images.clone()
    for position in range(order.shape[1]):
        for number, (adjust, _) in enumerate(ADJUSTMENTS[: order.shape[1]]):
            rows = (mask & (order[:, position] == number)).nonzero()[:, 0]
            amount = amounts[rows, number].view(-1, 1, 1, 1).to(images)
            rows = rows.to(images.device)
            images[rows] = adjust(images[rows], amount)
    return images


def _uniform(n: int, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(n, generator=generator)


def _chance(n: int, generator: torch.Generator, probability: float) -> Tensor:
    return torch.rand(n, generator=generator) < probability


def _where(mask: Tensor, these: Tensor, others: Tensor) -> Tensor:
    return torch.where(mask.to(others.device)[:, None, None, None], these, others)
