"""How a photograph of a source is stored: its own bytes where they are an upright JPEG, else a JPEG made of it.

Test sets that are published without loss stay so: their photographs are stored as PNGs.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data.central_square import central_square
from nofrost.data.jpeg import decode_photograph, encode_jpeg, encode_png
from nofrost.data.pixel_statistics import histograms
from nofrost.errors import UserError
from nofrost.prepare.photo import ImageFile, alone_if_large, opened, orientation, upright
from nofrost.system_errors import cannot_read

# The second is a JPEG of several pictures, as some cameras make, and is read as its first one
JPEGS = ("JPEG", "MPO")
_LARGEST_SIDE = 65_535  # of a JPEG
_LARGEST_RATIO = 100  # of the sides: the evaluation view of a thinner one would take hundreds of megabytes
_LARGEST_FILE = 1 << 28  # bytes


@dataclass(frozen=True)
class StoredForm:
    """What is stored of a photograph.

    Attributes:
        content: the bytes of an upright JPEG or PNG.
        size: height and width in pixels.
        change: why it is a JPEG of other bytes than the source has, such as "CMYK"; empty if no pixel is changed.
        histograms: of its evaluation view, int64 [C, 256]; None if they were not asked for.
    """

    content: bytes
    size: tuple[int, int]
    change: str
    histograms: NDArray[np.int64] | None


def stored_form(
    file: ImageFile,
    channels: int,
    shorter_side: int | None,
    view: EvaluationView | None = None,
    *,
    lossless: bool = False,
) -> StoredForm:
    """Return what is stored of a photograph, which is decoded as a whole, so that damage is found.

    Args:
        channels: 1 if all photographs are grey, otherwise 3.
        shorter_side: larger photographs are reduced to it, in pixels; None leaves them as they are.
        view: whose levels are counted; None counts none.
        lossless: keep pixels that no JPEG has lost, as a PNG, unless they are reduced.

    Raises:
        UserError: it cannot be read, is damaged, or has a form that no photograph has.
    """
    content = _read(file)
    with opened(_Bytes(content, str(file))) as stored, alone_if_large(stored):
        _check_shape(stored, file)
        kept = (*JPEGS, "PNG") if lossless else JPEGS
        change = _change(stored, channels, shorter_side, kept)
        if change and lossless and stored.format not in JPEGS and not _is_reduced(stored, shorter_side):
            image = upright(stored, channels, file)
            content, change = encode_png(image), ""
        elif change:
            image = _reduced(upright(stored, channels, file), shorter_side)
            content = encode_jpeg(image)
            # the pixels that will be read
            image = decode_photograph(content, channels) if view else image
        else:
            image = stored.convert("L" if channels == 1 else "RGB")
        counts = None
        if view:
            counts = histograms(np.asarray(central_square(image, view)).reshape(view.crop, view.crop, channels))
        return StoredForm(content, (image.height, image.width), change, counts)


@dataclass(frozen=True)
class _Bytes:
    """An image in memory, which messages name as the file that it was read from."""

    content: bytes
    name: str

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.content)

    def __str__(self) -> str:
        return self.name


def _read(file: ImageFile) -> bytes:
    try:
        with file.open() as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise cannot_read(error, str(file)) from None
    if len(content) > _LARGEST_FILE:
        raise UserError(f"{file} has more than {_LARGEST_FILE:,} bytes: remove it or make it smaller")
    return content


def _check_shape(image: Image.Image, file: ImageFile) -> None:
    shorter, longer = sorted(image.size)
    if longer > _LARGEST_SIDE or longer > _LARGEST_RATIO * shorter:
        raise UserError(
            f"{file} has {image.width}x{image.height} pixels: a photograph in shards has at most {_LARGEST_SIDE:,} on "
            f"a side, and {_LARGEST_RATIO} times its other side; remove or crop it"
        )


def _change(image: Image.Image, channels: int, shorter_side: int | None, kept: Sequence[str]) -> str:
    """Return why the bytes of an opened image cannot be stored as they are; empty if they can.

    Args:
        kept: formats that are stored as they are.
    """
    if image.format not in kept:
        return str(image.format)
    if image.mode not in (("L",) if channels == 1 else ("L", "RGB")):
        return str(image.mode)
    if image.has_transparency_data:
        return "transparent"
    if orientation(image) != 1:
        return "turned"
    return "reduced" if _is_reduced(image, shorter_side) else ""


def _is_reduced(image: Image.Image, shorter_side: int | None) -> bool:
    return shorter_side is not None and min(image.size) > shorter_side


def _reduced(image: Image.Image, shorter_side: int | None) -> Image.Image:
    if shorter_side is None or not _is_reduced(image, shorter_side):
        return image
    shorter = min(image.size)
    width, height = (max(1, round(side * shorter_side / shorter)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)
