"""Checks of what a user hands to an attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nofrost.errors import UserError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# A round trip through an input normaliser leaves pixels this far outside the box
_PIXEL_TOLERANCE = 1e-6


def check_batch(images: Tensor, labels: Tensor, indices: Tensor | None) -> None:
    """Check the form of a batch; labels are checked against the classes once the model has been called.

    Raises:
        UserError: images are not floats [N, C, H, W] in [0, 1]; labels or indices are not int64 [N] on their device.
    """
    if not isinstance(images, Tensor) or images.dtype not in FLOATS or images.ndim != 4:
        raise UserError(f"images are {form_of(images)}: an attack needs floats [N, C, H, W] in [0, 1]")
    _check_column("labels", labels, images)
    if indices is not None:
        _check_column("indices", indices, images)
    if images.numel():
        _check_pixels(images)


def check_budget(norm: str, eps: float, images: Tensor) -> None:
    """Check that the radius `eps` is not longer than the diagonal of the pixel box of `images` [N, C, H, W].

    Raises:
        UserError: it is.
    """
    diagonal = math.sqrt(images.shape[1:].numel())
    if norm == "l2" and eps > diagonal * (1 + _PIXEL_TOLERANCE):
        raise UserError(
            f"eps is {eps:g}, but no two images of shape {tuple(images.shape[1:])} are further apart than {diagonal:g} "
            "in the norm l2: write a smaller one, such as 0.5"
        )


def _check_column(what: str, values: Tensor, images: Tensor) -> None:
    if not isinstance(values, Tensor) or values.dtype != torch.int64 or values.ndim != 1:
        raise UserError(f"{what} are {form_of(values)}: an attack needs an int64 tensor [N]")
    if len(values) != len(images):
        raise UserError(f"there are {len(images)} images but {len(values)} {what}: give one for each image")
    if values.device != images.device:
        raise UserError(f"{what} are on {values.device} but images on {images.device}: move them to one device")


def _check_pixels(images: Tensor) -> None:
    low, high = (float(end) for end in images.detach().aminmax())
    if low >= -_PIXEL_TOLERANCE and high <= 1 + _PIXEL_TOLERANCE:
        return
    if torch.isfinite(images).all():
        raise UserError(
            f"images run from {low:g} to {high:g}: an attack needs pixels in [0, 1] and the normaliser inside the model"
        )
    raise UserError("images hold NaN or infinite values: an attack needs pixels in [0, 1]")


def form_of(value: object) -> str:
    """Return in words what `value` is: of a tensor its dtype and shape."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
