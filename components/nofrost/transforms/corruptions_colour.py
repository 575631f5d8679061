"""Corruptions of brightness, contrast and colour (Hendrycks & Dietterich 2019 §3), without a detour over HSV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nofrost.transforms.corruptions_filters import as_float32

Images = NDArray[np.float32]


def brightness(images: Images, shift: float) -> Images:
    """Raise the value V of HSV (the largest channel) by `shift`, at most to 1; hue and saturation stay.

    Hue and saturation are kept exactly when all channels are scaled alike; black has neither and becomes grey.
    """
    value = images.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(shift), 1)
    black = value == 0
    scaled = images * (raised / np.where(black, 1, value))
    return as_float32(np.where(black, raised, scaled))


def contrast(images: Images, factor: float) -> Images:
    """Draw every value towards the mean of its channel in its image: the distance is multiplied by `factor`."""
    mean = images.mean(axis=(2, 3), keepdims=True, dtype=np.float64)
    return as_float32((images - mean) * factor + mean)


def saturate(images: Images, factor: float, shift: float) -> Images:
    """Change the saturation S of HSV to clip(S * `factor` + `shift`, 0, 1); hue and value stay.

    A pixel (r, g, b) is V - V * S * d, where d in [0, 1] is 1 for its smallest channel and 0 for its largest: d is the
    hue, and only S changes. Grey has no hue; by convention it is red (d = 0, 1, 1), so a positive `shift` reddens it.
    """
    value = images.max(axis=1, keepdims=True)
    spread = value - images.min(axis=1, keepdims=True)
    grey = spread == 0
    red = np.array([0, 1, 1], dtype=np.float32)[:, None, None]
    direction = np.where(grey, red, (value - images) / np.where(grey, 1, spread))
    saturation = spread / np.where(value == 0, 1, value)
    changed = np.clip(saturation * factor + shift, 0, 1)
    return as_float32(value - value * changed * direction)
