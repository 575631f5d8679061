"""Common corruptions of images at five severities (Hendrycks & Dietterich 2019, ICLR).

Images with sides up to 64 pixels take the severities of the published CIFAR-10-C, larger ones those of ImageNet-C.
These corruptions are made here from clean images, so numbers on them stand beside each other, not beside numbers on
the published files (whose noise was drawn once, and whose ImageNet images went through one more JPEG).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.errors import UserError, unknown
from nofrost.transforms import corruption_functions as functions

Indices = torch.Tensor | NDArray[np.int64] | Sequence[int]
SEVERITIES = (1, 2, 3, 4, 5)
SMALL_IMAGE = 64  # largest side, in pixels, that takes the CIFAR-10-C severities
SMALLEST_IMAGE = 4  # side in pixels that the kernels for small images need


@dataclass(frozen=True)
class Corruption:
    """A corruption and its parameters at severities 1 to 5, for small images (CIFAR-10-C) and large ones (ImageNet-C).

    `random` functions take one generator for each image after their parameters.
    """

    function: Callable[..., NDArray[np.float32]]
    small: tuple[tuple[float, ...], ...]
    large: tuple[tuple[float, ...], ...]
    random: bool = False
    colour_only: bool = False

    def parameters(self, severity: int, side: int) -> tuple[float, ...]:
        """Return the parameters at this severity for images whose larger side has `side` pixels."""
        return (self.small if side <= SMALL_IMAGE else self.large)[severity - 1]


def _each(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(
        functions.gaussian_noise, _each(0.04, 0.06, 0.08, 0.09, 0.10), _each(0.08, 0.12, 0.18, 0.26, 0.38), random=True
    ),
    "shot_noise": Corruption(functions.shot_noise, _each(500, 250, 100, 75, 50), _each(60, 25, 12, 5, 3), random=True),
    "impulse_noise": Corruption(
        functions.impulse_noise, _each(0.01, 0.02, 0.03, 0.05, 0.07), _each(0.03, 0.06, 0.09, 0.17, 0.27), random=True
    ),
    "speckle_noise": Corruption(
        functions.speckle_noise, _each(0.06, 0.10, 0.12, 0.16, 0.20), _each(0.15, 0.20, 0.35, 0.45, 0.60), random=True
    ),
    "gaussian_blur": Corruption(functions.gaussian_blur, _each(0.4, 0.6, 0.7, 0.8, 1.0), _each(1, 2, 3, 4, 6)),
    "defocus_blur": Corruption(
        functions.defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "brightness": Corruption(functions.brightness, _each(0.05, 0.10, 0.15, 0.20, 0.30), _each(0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Corruption(
        functions.contrast, _each(0.75, 0.50, 0.40, 0.30, 0.15), _each(0.40, 0.30, 0.20, 0.10, 0.05)
    ),
    "saturate": Corruption(
        functions.saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        colour_only=True,
    ),
    "pixelate": Corruption(functions.pixelate, _each(0.95, 0.90, 0.85, 0.75, 0.65), _each(0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": Corruption(functions.jpeg_compression, _each(80, 65, 58, 50, 40), _each(25, 18, 15, 10, 7)),
}


def corruption_names() -> list[str]:
    """Return the names that :func:`corrupt` knows, sorted."""
    return sorted(CORRUPTIONS)


def noise_names() -> list[str]:
    """Return the names of those that draw noise, sorted."""
    return sorted(name for name, corruption in CORRUPTIONS.items() if corruption.random)


def is_noise(name: str) -> bool:
    """Return whether a known corruption draws noise, independently in each pixel."""
    return CORRUPTIONS[name].random


def check_corruption(name: str, severity: int, *, channels: int) -> None:
    """Check that :func:`corrupt` can be called with these, before any work is done.

    Raises:
        UserError: the name is unknown, the severity is not 1 to 5, or the corruption needs colour and there is none.
    """
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    if severity not in SEVERITIES:
        raise UserError(f"corruption {name} has no severity {severity!r}: write one of 1, 2, 3, 4, 5")
    if channels not in (1, 3):
        raise UserError(f"corruptions take images of 1 or 3 channels, got {channels}: convert the images")
    if CORRUPTIONS[name].colour_only and channels == 1:
        raise UserError(f"corruption {name} changes colours and the images have none: leave it out for grey images")


def corrupt(images: torch.Tensor, name: str, severity: int, *, seed: int, indices: Indices) -> torch.Tensor:
    """Return the images with one corruption.

    Args:
        images: floats [N, C, H, W] in [0, 1], C being 1 (grey) or 3 (red, green, blue), sides of at least 4 pixels.
        name: one of :func:`corruption_names`.
        severity: 1 (mild) to 5 (strong).
        seed: of the random corruptions.
        indices: N integers that name the images: the noise of an image is a function of (seed, name, severity, index),
            whatever other images are in the batch.

    Returns:
        Images of the same shape, dtype and device, in [0, 1] and on the 256 levels of 8 bits, as the published sets
        are stored (rounded to the nearest level).

    Raises:
        UserError: a wrong name, severity, shape or number of indices.
    """
    pixels, rows = _checked(images, indices)
    check_corruption(name, severity, channels=pixels.shape[1])
    corruption = CORRUPTIONS[name]
    arguments: list[Any] = list(corruption.parameters(severity, max(pixels.shape[2:])))
    if corruption.random:
        arguments.append(functions.image_generators(seed, name, severity, rows))
    corrupted = functions.to_levels(corruption.function(pixels, *arguments)) if len(pixels) else pixels
    return torch.from_numpy(corrupted).to(images)


def _checked(images: torch.Tensor, indices: Indices) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if images.ndim != 4 or not images.is_floating_point() or min(images.shape[2:]) < SMALLEST_IMAGE:
        raise UserError(
            f"images to corrupt must be floats [N, C, H, W] with sides of at least {SMALLEST_IMAGE} pixels, "
            f"got {images.dtype} {list(images.shape)}"
        )
    rows: NDArray[np.int64] = torch.as_tensor(indices, dtype=torch.int64).cpu().numpy()
    if rows.shape != (len(images),):
        raise UserError(f"corrupt needs one index for each image, got {rows.size} for {len(images)} images")
    pixels: NDArray[np.float32] = images.detach().to("cpu", torch.float32).contiguous().numpy()
    return pixels, rows
