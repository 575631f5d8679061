"""Corruptions by family, severities and sets of parameters; what each does is in nofrost/transforms/corruptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

SEVERITIES = (1, 2, 3, 4, 5)

# Whose parameters: those of CIFAR-10-C, of Tiny-ImageNet-C and of ImageNet-C
ParameterSet = Literal["cifar", "tiny-imagenet", "imagenet"]

# In the order of the papers
CORRUPTION_FAMILIES = {
    # Hendrycks & Dietterich 2019: the 15 of ImageNet-C, then the 4 extra ones
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
    # Mintun et al. 2021: ImageNet-C-bar
    "c-bar": (
        "blue_noise_sample",
        "brownish_noise",
        "caustic_refraction",
        "checkerboard_cutout",
        "cocentric_sine_waves",
        "inverse_sparkles",
        "perlin_noise",
        "plasma_noise",
        "single_frequency_greyscale",
        "sparkles",
    ),
}

COMMON = tuple(name for family in ("noise", "blur", "weather", "digital") for name in CORRUPTION_FAMILIES[family])
"""The 15 common corruptions, which printed means and mean corruption errors are of (Hendrycks & Dietterich 2019)."""


def averaged(names: Iterable[str]) -> list[str]:
    """Return the corruptions that a mean accuracy is over: the common ones of `names`, or all where there are none."""
    given = list(dict.fromkeys(names))
    return [name for name in given if name in COMMON] or given


def set_apart(names: Iterable[str]) -> dict[str, list[str]]:
    """Return by family the corruptions of `names` that a mean accuracy leaves out; each family has its own mean."""
    given = list(dict.fromkeys(names))
    counted = averaged(given)
    return by_family(name for name in given if name not in counted)


def by_family(names: Iterable[str]) -> dict[str, list[str]]:
    """Return corruptions by family, families and names in the papers' order; those of no family under ``other``."""
    given = dict.fromkeys(names)
    families = {family: [name for name in members if name in given] for family, members in CORRUPTION_FAMILIES.items()}
    known = {name for members in families.values() for name in members}
    families["other"] = [name for name in given if name not in known]
    return {family: members for family, members in families.items() if members}
