"""The images that are evaluated: which rows, in which order, under which indices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost.attacks.batch import FLOATS
from nofrost.config import EvaluationView
from nofrost.config.image_subset import ImageSubset
from nofrost.data import Photographs, Split, to_tensor
from nofrost.data.central_square import central_squares
from nofrost.data.parallel import threaded_map
from nofrost.errors import UserError
from nofrost.models.contents import is_readable

Rows = NDArray[np.int64]

Change = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""From a stored image uint8 [H, W, C] and its index to an image of the same form."""

_READ_AT_ONCE = 256  # images whose checksum is taken at once


@dataclass(frozen=True)
class Sample:
    """N images on the CPU, read batch by batch.

    Args:
        read: maps rows [n] of the sample to images float32 [n, C, H, W] in [0, 1].
        labels: int64 [N], the true classes.
        indices: int64 [N], which images of their dataset they are; they pick the random numbers of each image.
        view: by which `read` resizes and crops what is stored; None: it does not.
    """

    read: Callable[[Rows], torch.Tensor]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    view: EvaluationView | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Rows, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images, labels and indices of these rows on `device`."""
        labels, indices = torch.from_numpy(self.labels[rows]), torch.from_numpy(self.indices[rows])
        return self.read(rows).to(device), labels.to(device), indices.to(device)

    def select(self, rows: Rows) -> Sample:
        """Return the sample of these rows only."""
        return Sample(lambda subset: self.read(rows[subset]), self.labels[rows], self.indices[rows], self.view)

    def rows_of(self, subset: ImageSubset) -> Rows:
        """Return the rows of the images of a subset.

        Raises:
            UserError: there are none.
        """
        rows = np.flatnonzero(self.labels < (subset.classes or np.inf)).astype(np.int64)
        if not len(rows):
            raise UserError(f"no image that is evaluated is of the first {subset.classes} classes: take more of them")
        return rows[spaced_rows(len(rows), subset.max_images)]

    def indices_sha256(self) -> str:
        """Return the SHA-256 of the indices as little-endian 64-bit integers: which images a number belongs to."""
        return hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()

    def sha256(self) -> str:
        """Return one SHA-256 of all images, labels and indices."""
        digest = hashlib.sha256(self.labels.astype("<i8").tobytes() + self.indices.astype("<i8").tobytes())
        for rows in batches(np.arange(len(self)), _READ_AT_ONCE):
            digest.update(self.read(rows).contiguous().numpy().tobytes())
        return digest.hexdigest()


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Yield `rows` in consecutive batches of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def spaced_rows(total: int, count: int | None) -> Rows:
    """Return `count` rows of `total`, evenly spaced from row 0; all rows where there are fewer, or for None."""
    count = total if count is None else min(total, count)
    return np.arange(count, dtype=np.int64) * total // max(count, 1)


def sample_of_split(
    split: Split, max_images: int | None, view: EvaluationView | None = None, change: Change | None = None
) -> Sample:
    """Return at most `max_images` evenly spaced images of a split, read batch by batch.

    Args:
        view: resizes and crops the images of an array; None leaves them as they are. Photographs have a view already.
        change: what is done to each stored image before it is resized and cropped.
    """
    rows = spaced_rows(len(split), max_images)
    images, indices = split.images, np.array(split.indices[rows])
    if isinstance(images, Photographs):
        view = images.view

    def changed(row: int) -> NDArray[np.uint8]:
        assert change is not None
        stored = np.asarray(images.decoded(int(rows[row])) if isinstance(images, Photographs) else images[rows[row]])
        image: NDArray[np.uint8] = change(stored.reshape(*stored.shape[:2], -1), int(indices[row]))
        square: NDArray[np.uint8] = central_squares(image[None], view)[0] if view else image
        return square

    def read(subset: Rows) -> torch.Tensor:
        if change is not None:
            return to_tensor(np.stack(list(threaded_map(changed, subset))))
        pixels = images[rows[subset]]
        return to_tensor(central_squares(pixels, view) if view and not isinstance(images, Photographs) else pixels)

    return Sample(read, np.array(split.labels[rows]), indices, view)


def sample_of_tensors(
    images: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor | None, max_images: int | None
) -> Sample:
    """Return at most `max_images` evenly spaced images of a tensor, after checking it.

    Raises:
        UserError: images are not floats [N, C, H, W] in [0, 1], or labels or indices are not N integers.
    """
    is_array = isinstance(images, torch.Tensor) and is_readable(images)
    if not is_array or images.ndim != 4 or images.dtype not in FLOATS or len(images) == 0:
        form = f"{images.dtype} {list(images.shape)}" if is_array else _kind(images)
        raise UserError(f"images must be a float tensor [N, C, H, W] with N at least 1, got {form}")
    low, high = (float(end) for end in images.detach().aminmax())
    # Not `low < 0 or high > 1`: a NaN must be refused too.
    if not (low >= 0 and high <= 1):
        raise UserError(f"images must lie in [0, 1], got values from {low:g} to {high:g}: scale them, such as by 1/255")
    checked_labels = _integers("labels", labels, len(images))
    numbers = torch.arange(len(images)) if indices is None else indices
    checked_indices = _integers("indices", numbers, len(images))
    rows = spaced_rows(len(images), max_images)
    pixels = images.detach()

    def read(subset: Rows) -> torch.Tensor:
        return pixels[torch.from_numpy(rows[subset])].to("cpu", torch.float32)

    return Sample(read, checked_labels[rows], checked_indices[rows])


def _integers(what: str, values: object, count: int) -> NDArray[np.int64]:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UserError(f"{what} must be {count} integers, got a {type(values).__name__}") from None
    if not is_readable(tensor):
        raise UserError(f"{what} must be {count} integers, got {_kind(tensor)}")
    are_integers = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    if tensor.shape != (count,) or not are_integers:
        raise UserError(f"{what} must be {count} integers, one for each image, got {tensor.dtype} {list(tensor.shape)}")
    numbers: NDArray[np.int64] = tensor.detach().to("cpu", torch.int64).numpy()
    return numbers


def _kind(value: object) -> str:
    kind = type(value).__name__
    return f"a {kind} with layout {value.layout} on {value.device}" if isinstance(value, torch.Tensor) else kind
