"""Checks of a batch of images and labels before it is attacked, and of a budget on such images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nofrost.errors import UserError
from nofrost.models.contents import is_readable

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# A round trip through an input normaliser can put pixels this far outside [0, 1]
_PIXEL_TOLERANCE = 1e-6


def check_batch(images: Tensor, labels: Tensor, indices: Tensor | None) -> None:
    """Check the form of a batch. `CheckedModel` checks the labels against the number of classes.

    Raises:
        UserError: images are not floats [N, C, H, W] in [0, 1]; labels or indices are not int64 [N] on their device.
    """
    if not isinstance(images, Tensor) or not is_readable(images) or images.dtype not in FLOATS or images.ndim != 4:
        raise UserError(f"images are {form_of(images)}: an attack needs floats [N, C, H, W] in [0, 1]")
    _check_column("labels", labels, images)
    if indices is not None:
        _check_column("indices", indices, images)
    if images.numel():
        _check_pixels(images)


def check_budget(norm: str, eps: float, images: Tensor) -> None:
    """Check that the radius `eps` is not longer than the diagonal of the pixel box of `images` [N, C, H, W].

    Raises:
        UserError: it is longer.
    """
    diagonal = math.sqrt(images.shape[1:].numel())
    if norm == "l2" and eps > diagonal * (1 + _PIXEL_TOLERANCE):
        raise UserError(
            f"eps is {eps:g}, but no two images of shape {tuple(images.shape[1:])} are further apart than {diagonal:g} "
            "in the norm l2: write a smaller one, such as 0.5"
        )


def _check_column(name: str, column: object, images: Tensor) -> None:
    if isinstance(column, Tensor) and column.device != images.device:
        raise UserError(f"{name} are on {column.device} but images on {images.device}: move them to one device")
    is_array = isinstance(column, Tensor) and is_readable(column)
    if not isinstance(column, Tensor) or not is_array or column.dtype != torch.int64 or column.ndim != 1:
        raise UserError(f"{name} are {form_of(column)}: an attack needs an int64 tensor [N]")
    if len(column) != len(images):
        raise UserError(f"there are {len(images)} images but {len(column)} {name}: give one for each image")


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
    """Describe `value` for a message: a tensor by dtype and shape, anything else by its type."""
    if isinstance(value, Tensor) and not is_readable(value):
        kind = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        return f"a {kind} tensor of {str(value.dtype).removeprefix('torch.')} on {value.device}"
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
