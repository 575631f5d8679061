"""What sources that are arrays in memory share: reading rows in batches, and checks of images and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.prepare.pixels import batch_length, resize_batch, to_levels
from nofrost.prepare.sources.base import Part


def array_part(images: NDArray[Any], labels: NDArray[np.int64], image_size: int | None) -> Part:
    """Return images [N, H, W] or [N, H, W, C] (uint8, or float in [0, 1]) and their labels as a part of a source."""
    pixels = images[..., None] if images.ndim == 3 else images
    native = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    shape = native if image_size is None else (image_size, image_size, native[2])

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        step = min(batch_length(native), batch_length(shape))
        for start in range(0, len(rows), step):
            yield resize_batch(to_levels(pixels[rows[start : start + step]]), image_size)

    return Part(labels, shape, read)


def check_images(images: NDArray[Any], origin: str) -> None:
    """Check that `images` are uint8 or float in [0, 1], [N, H, W] or [N, H, W, C] with 1 or 3 channels.

    Raises:
        UserError: they are not; the sentence begins with `origin`.
    """
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if not shaped or 0 in images.shape:
        raise UserError(
            f"{origin} has shape {images.shape}: images must be [N, H, W] or [N, H, W, C] with 1 or 3 channels last"
        )
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{origin} is {images.dtype}: images must be uint8, or floats in [0, 1]")
    low, high = float(images.min()), float(images.max())  # both are NaN when any pixel is
    if not (low >= 0 and high <= 1):
        raise UserError(f"{origin} holds values from {low:g} to {high:g}: float images must lie in [0, 1]")


def check_labels(labels: NDArray[Any], n_images: int, n_classes: int | None, origin: str) -> NDArray[np.int64]:
    """Return the labels as int64 [N]; [N, 1] is accepted, as some published arrays are.

    Args:
        n_classes: number of classes; None when the labels themselves tell it (every class has an image, so a label
            can then not reach the number of images).

    Raises:
        UserError: they are not integers, not one for each image, or out of range; the sentence names the first row.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (n_images,):
        raise UserError(f"{origin} has shape {labels.shape}: there must be one label for each of {n_images} images")
    if not np.issubdtype(flat.dtype, np.integer):
        raise UserError(f"{origin} is {labels.dtype}: labels must be whole numbers (an integer array)")
    bound = n_images if n_classes is None else n_classes
    wrong = np.flatnonzero((flat < 0) | (flat >= bound))
    if len(wrong):
        row = int(wrong[0])
        reason = f"with {bound} classes" if n_classes is not None else f"with {bound} images, all classes present,"
        raise UserError(f"{origin}: row {row} is {flat[row]}: {reason} labels must be 0 to {bound - 1}")
    return flat.astype(np.int64)


def numbered_classes(*labels: NDArray[np.int64] | None) -> tuple[str, ...]:
    """Return "0", "1", ... up to the largest label."""
    return tuple(map(str, range(1 + max(int(part.max()) for part in labels if part is not None))))
