"""Corruptions of images at five severities: those of ImageNet-C and ImageNet-C-bar, made here from clean images.

Numbers on them are named `nofrost-c`: they stand beside each other, not beside numbers on the published files
(`imagenet-c`), whose noise was drawn once and whose frost is of photographs. The published JPEG files went through one
more JPEG of quality 85; `jpeg_quality` does the same.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.config.corruption_families import CORRUPTION_FAMILIES, SEVERITIES, ParameterSet
from nofrost.errors import UserError, unknown
from nofrost.transforms.corruptions.blur import BLUR
from nofrost.transforms.corruptions.c_bar import C_BAR
from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import (
    PARAMETER_SETS,
    Corruption,
    parameter_set_for,
)
from nofrost.transforms.corruptions.digital import DIGITAL, jpeg_compression
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.extra import EXTRA
from nofrost.transforms.corruptions.noise import NOISE
from nofrost.transforms.corruptions.weather import WEATHER

__all__ = [
    "CORRUPTIONS",
    "FAMILIES",
    "check_corruption",
    "corrupt",
    "corruption_names",
    "is_noise",
    "noise_names",
]

Indices = torch.Tensor | NDArray[np.int64] | Sequence[int]
SMALLEST_IMAGE = 4  # side in pixels that the kernels for small images need
# Values of the images that are corrupted at once: a few photographs, whose intermediate results stay in the processor's
# cache; on a GPU as many as fill it. Memory beyond the result's is bounded by them, or by one image for each thread.
CPU_VALUES, GPU_VALUES = 2**19, 2**23

_MADE = {**NOISE, **BLUR, **WEATHER, **DIGITAL, **EXTRA, **C_BAR}
FAMILIES: dict[str, dict[str, Corruption]] = {
    family: {name: _MADE[name] for name in names} for family, names in CORRUPTION_FAMILIES.items()
}
CORRUPTIONS: dict[str, Corruption] = {name: each for family in FAMILIES.values() for name, each in family.items()}


def corruption_names() -> list[str]:
    """Return the names that :func:`corrupt` knows, sorted."""
    return sorted(CORRUPTIONS)


def noise_names() -> list[str]:
    """Return the names of those that draw noise independently in each pixel, sorted."""
    return sorted({*NOISE, "speckle_noise"})


def is_noise(name: str) -> bool:
    """Return whether a corruption draws noise independently in each pixel."""
    return name in NOISE or name == "speckle_noise"


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


@torch.no_grad()
def corrupt(
    images: torch.Tensor,
    name: str,
    severity: int,
    *,
    seed: int,
    indices: Indices,
    parameter_set: ParameterSet | None = None,
    jpeg_quality: int | None = None,
) -> torch.Tensor:
    """Return the images with one corruption.

    Args:
        images: floats [N, C, H, W] in [0, 1], C being 1 (grey) or 3 (red, green, blue), sides of at least 4 pixels, on
            any device.
        name: one of :func:`corruption_names`.
        severity: 1 (mild) to 5 (strong).
        seed: of the random corruptions.
        indices: N integers that name the images: what is drawn for an image is a function of (seed, name, severity,
            index), whatever other images are in the batch.
        parameter_set: whose parameters, "cifar", "tiny-imagenet" or "imagenet"; by default those of the images' size
            (:func:`~nofrost.transforms.corruptions.corruption.parameter_set_for`).
        jpeg_quality: of one more JPEG of the result, 1 to 95, as the published files of photographs went through
            (85); none by default.

    Returns:
        Images of the same shape, dtype and device, in [0, 1] and on the 256 levels of 8 bits, as the published sets
        are stored (rounded to the nearest level, where the published code cuts off).

    Raises:
        UserError: a wrong name, severity, set of parameters, quality, shape or number of indices.
    """
    pixels, rows = _checked(images, indices)
    check_corruption(name, severity, channels=pixels.shape[1])
    if parameter_set is not None and parameter_set not in PARAMETER_SETS:
        raise unknown("set of parameters", parameter_set, PARAMETER_SETS)
    if jpeg_quality is not None and not 1 <= jpeg_quality <= 95:
        raise UserError(f"jpeg_quality is {jpeg_quality!r}: write a number from 1 to 95, or leave it out")
    if not len(pixels):
        return images
    corruption = CORRUPTIONS[name]
    parameters = corruption.parameters(severity, parameter_set or parameter_set_for(*pixels.shape[2:]))
    corrupted = torch.empty_like(pixels)
    at_once = max(1, (CPU_VALUES if pixels.device.type == "cpu" else GPU_VALUES) // pixels[0].numel())
    if is_compiled(pixels):
        # All, where nothing but the result is made of many images; otherwise at least one for each thread
        in_place = corruption.on_levels and jpeg_quality is None
        at_once = len(pixels) if in_place else max(at_once, torch.get_num_threads())
    for start in range(0, len(pixels), at_once):
        some = slice(start, start + at_once)
        draws = [Draws(seed, name, severity, rows[some], pixels.device)] if corruption.random else []
        result = corruption.function(pixels[some], *draws, *parameters)
        levels = corrupted[some]
        if corruption.on_levels and len(result) == len(pixels):
            corrupted = levels = result
        elif corruption.on_levels:
            levels.copy_(result)
        elif is_compiled(levels):
            from nofrost.transforms.corruptions.kernels.pointwise import round_to_levels

            round_to_levels(result, levels)
        else:
            # Rounded to the 256 levels of an 8-bit image
            torch.clamp(result, 0, 1, out=levels).mul_(255).round_().div_(255)
        if jpeg_quality is not None:
            levels.copy_(jpeg_compression(levels, jpeg_quality))
    return corrupted.to(images.dtype)


def _checked(images: torch.Tensor, indices: Indices) -> tuple[torch.Tensor, NDArray[np.int64]]:
    if images.ndim != 4 or not images.is_floating_point() or min(images.shape[2:]) < SMALLEST_IMAGE:
        raise UserError(
            f"images to corrupt must be floats [N, C, H, W] with sides of at least {SMALLEST_IMAGE} pixels, "
            f"got {images.dtype} {list(images.shape)}"
        )
    rows: NDArray[np.int64] = torch.as_tensor(indices, dtype=torch.int64).cpu().numpy()
    if rows.shape != (len(images),):
        raise UserError(f"corrupt needs one index for each image, got {rows.size} for {len(images)} images")
    return images.detach().float().contiguous(), rows
