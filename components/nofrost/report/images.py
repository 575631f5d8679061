"""Pictures as data URIs, so that the report is one file."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE = 160  # pixels; larger images are shown smaller, or a report on ImageNet would weigh tens of megabytes


def data_uri(image: NDArray[Any]) -> str:
    """Return an image [H, W, C], uint8 or floats in [0, 1], as the data URI of a PNG.

    One channel is shown as grey levels, three as RGB; of any other number the first channel is shown. Images larger
    than `LARGEST_SIDE` are thinned out by whole pixels, which keeps the look of a perturbation.
    """
    from PIL import Image

    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    stride = -(-max(pixels.shape[:2]) // LARGEST_SIDE)
    pixels = pixels[::stride, ::stride]
    pixels = pixels if pixels.shape[2] == 3 else pixels[:, :, 0]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def magnification(perturbations: NDArray[Any]) -> int:
    """Return the largest whole factor that keeps perturbations [N, H, W, C] within [-0.51, 0.51]; at least 1."""
    largest = float(np.abs(perturbations).max(initial=0.0))
    return max(1, int(0.51 / largest)) if largest > 0 else 1


def magnified(perturbation: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return a perturbation [H, W, C] as an image: mid grey where nothing was changed."""
    return np.clip(0.5 + factor * perturbation, 0, 1)
