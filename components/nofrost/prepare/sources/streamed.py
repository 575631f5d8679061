"""Arrays of images that are read from a file row by row, so that memory does not grow with the data."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.prepare.pixels import batch_length, resize_batch, to_levels
from nofrost.prepare.sources.base import Part

_BATCH_BYTES = 1 << 22
_FORTRAN_BYTES = 1 << 28  # of rows in memory, if their order makes it necessary to read all of the file for them
_FORTRAN_PASSES = 64
_IMAGE_BYTES = 1 << 28  # of one image; that of 89 million pixels, the largest photograph, has as many
_IMAGES = 20_000_000  # of one part: labels and the order of the split are in memory
_TEXT_BYTES = 1 << 26  # of the names of classes


@dataclass(frozen=True)
class StreamedArray:
    """An array in a file.

    Attributes:
        origin: which array it is, for messages.
        shape, dtype: as its header states them.
        open: a context manager of its values, as bytes in the order of the file; reading raises a UserError if the
            file is damaged.
        is_fortran: whether the values are in Fortran's order, in which no row lies together.
    """

    origin: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    is_fortran: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def whole(self) -> NDArray[Any]:
        """Return the array, read into memory."""
        return np.concatenate(list(self.batches()))

    def batches(self) -> Iterator[NDArray[Any]]:
        """Yield consecutive rows, and read to the end of the file, which compares its checksum."""
        step = self._rows_of(_BATCH_BYTES)
        if self.is_fortran:
            for first in range(0, len(self), self._rows_of(_FORTRAN_BYTES)):
                block = self._fortran_rows(first)
                for start in range(0, len(block), step):
                    yield np.ascontiguousarray(block[start : start + step])
            return
        with self.open() as stream:
            for start in range(0, len(self), step):
                yield self._read(stream, (min(step, len(self) - start), *self.shape[1:]))
            self._check_end(stream)

    def rows(self, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        """Yield the `rows` (ascending), in batches."""
        start = 0
        for batch in self.batches():
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            if last > first:
                yield batch[rows[first:last] - start]
            if last == len(rows):
                return
            start += len(batch)

    def _rows_of(self, size: int) -> int:
        """Return how many rows have so many bytes."""
        return max(1, size // max(1, self.nbytes // len(self)))

    def _fortran_rows(self, first: int) -> NDArray[Any]:
        """Return the rows from the `first` on that fit into memory, for which all of the file has to be read."""
        if self.nbytes > _FORTRAN_PASSES * _FORTRAN_BYTES:
            raise UserError(
                f"{self.origin} is in Fortran's order, of which at most {_FORTRAN_PASSES * _FORTRAN_BYTES:,} bytes can "
                "be read row by row: save it again as numpy.ascontiguousarray(...)"
            )
        count, planes = min(len(self) - first, self._rows_of(_FORTRAN_BYTES)), math.prod(self.shape[1:])
        rows = np.empty((planes, count), self.dtype)
        # the same value of all rows lies together
        step = max(1, _BATCH_BYTES // (len(self) * self.dtype.itemsize))
        with self.open() as stream:
            for start in range(0, planes, step):
                stop = min(start + step, planes)
                rows[start:stop] = self._read(stream, (stop - start, len(self)))[:, first : first + count]
            self._check_end(stream)
        return rows.reshape(*self.shape[:0:-1], count).T

    def _read(self, stream: IO[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
        content, length = bytearray(), math.prod(shape) * self.dtype.itemsize
        # in pieces, so that a wrong size in a header does not allocate more memory than the file has content
        while len(content) < length:
            piece = stream.read(min(_BATCH_BYTES, length - len(content)))
            if not piece:
                raise UserError(f"{self.origin} is cut off: it has fewer values than its header says; replace it")
            content += piece
        return np.frombuffer(content, self.dtype).reshape(shape)

    def _check_end(self, stream: IO[bytes]) -> None:
        if stream.read(1):
            raise UserError(f"{self.origin} is longer than its header says: remove or replace it")


def streamed_part(images: StreamedArray, labels: NDArray[np.int64], image_size: int | None) -> Part:
    """Return checked images and their labels as a part of a source."""
    height, width, channels = (*images.shape[1:], 1)[:3]
    shape = (height, width, channels) if image_size is None else (image_size, image_size, channels)

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        step = min(batch_length((height, width, channels)), batch_length(shape))
        for batch in images.rows(rows):
            pixels = batch.reshape(len(batch), height, width, channels)
            for start in range(0, len(pixels), step):
                yield resize_batch(to_levels(pixels[start : start + step]), image_size)

    return Part(labels, shape, read)


def check_images(images: StreamedArray) -> None:
    """Check that `images` are uint8 or float in [0, 1], [N, H, W] or [N, H, W, C] with 1 or 3 channels.

    Raises:
        UserError: they are not, or the file is damaged.
    """
    if images.shape[:1] == (0,):
        raise UserError(f"{images.origin} has shape {images.shape}, so it holds no images: add some, or leave it out")
    shaped = len(images.shape) == 3 or (len(images.shape) == 4 and images.shape[3] in (1, 3))
    if not shaped or min(images.shape) < 1:
        raise UserError(
            f"{images.origin} has shape {images.shape}: images must be [N, H, W] or [N, H, W, C] with 1 or 3 channels "
            "last"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UserError(f"{images.origin} is {images.dtype}: images must be uint8, or floats in [0, 1]")
    if images.nbytes // len(images) > _IMAGE_BYTES:
        height, width = images.shape[1:3]
        raise UserError(f"{images.origin} has images of {height}x{width} pixels: make them smaller")
    _check_count(images)
    if images.dtype == np.uint8:
        # Read all the same: that shows damage
        for _ in images.batches():
            pass
        return
    lows, highs = zip(*((batch.min(), batch.max()) for batch in images.batches()), strict=True)
    # both are NaN when any pixel is
    low, high = np.min(lows), np.max(highs)
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"{images.origin} holds values from {_shown(low)} to {_shown(high)}: float images must lie in [0, 1]"
        )


def check_labels(labels: StreamedArray, n_images: int, n_classes: int | None) -> NDArray[np.int64]:
    """Return the labels as int64 [N]; [N, 1] is accepted, as some published arrays are.

    Args:
        n_classes: number of classes; None to derive it from the labels (every class has an image, so that a label is
            then less than the number of images).

    Raises:
        UserError: they are not integers, not one for each image, or out of range; the message names the first row.
    """
    if labels.shape not in ((n_images,), (n_images, 1)):
        raise UserError(
            f"{labels.origin} has shape {labels.shape}: there must be one label for each of {n_images} images"
        )
    if labels.dtype.kind not in "iu":
        raise UserError(f"{labels.origin} is {labels.dtype}: labels must be whole numbers (an integer array)")
    flat = labels.whole().reshape(n_images)
    bound = n_images if n_classes is None else n_classes
    wrong = np.flatnonzero((flat < 0) | (flat >= bound))
    if len(wrong):
        row = int(wrong[0])
        reason = f"with {bound} classes" if n_classes is not None else f"with {bound} images, all classes present,"
        raise UserError(f"{labels.origin}: row {row} is {flat[row]}: {reason} labels must be 0 to {bound - 1}")
    return flat.astype(np.int64)


def check_names(names: StreamedArray) -> tuple[str, ...]:
    """Return the names of classes in an array of strings.

    Raises:
        UserError: it is something else, or too large for names.
    """
    if len(names.shape) != 1 or names.dtype.kind != "U" or not len(names) or names.nbytes > _TEXT_BYTES:
        size = "" if names.nbytes <= _TEXT_BYTES else f", {names.nbytes:,} bytes"
        raise UserError(f"{names.origin} is {names.dtype} {names.shape}{size}: it must be a list of names (strings)")
    return tuple(map(str, names.whole()))


def numbered_classes(*labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the class names "0", "1", ... up to the largest label."""
    return tuple(map(str, range(1 + max(int(array.max()) for array in labels))))


def _check_count(images: StreamedArray) -> None:
    if len(images) > _IMAGES:
        raise UserError(f"{images.origin} has {len(images):,} images: at most {_IMAGES:,} can be split, leave some out")


def _shown(value: Any) -> str:
    """Return the value with six digits, or with all of its digits if these say something else."""
    short = f"{value:g}"
    return short if type(value)(short) == value or np.isnan(value) else str(value)
