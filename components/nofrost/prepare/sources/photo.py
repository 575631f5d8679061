"""One image file: its header, and its pixels turned upright, without transparency, in 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nofrost.errors import UserError
from nofrost.prepare.pixels import resize_and_crop

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"))
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))
_ORIENTATION = 0x0112
_LYING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Header:
    """Size (height, width) of the upright image, and whether it is grey."""

    size: tuple[int, int]
    grey: bool


@contextmanager
def refusing_giant_images() -> Iterator[None]:
    """Turn Pillow's warning of an image with suspiciously many pixels into an error, in all threads.

    To be entered in the main thread, around all reading: warning filters belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(path: Path) -> Header:
    """Return size and kind of the image without decoding its pixels.

    Raises:
        UserError: it cannot be read or is not an image.
    """
    with _opened(path) as image:
        # Pillow decodes a whole PNG to look for EXIF data after the pixels; decode() still turns such an image.
        orientation = 1 if image.format == "PNG" and "exif" not in image.info else image.getexif().get(_ORIENTATION, 1)
        if orientation not in _LYING:
            return Header((image.height, image.width), image.mode in _GREY_MODES)
    # Pillow gives the upright size of some formats before decoding and of others after it: decode, opened afresh.
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return Header((upright.height, upright.width), image.mode in _GREY_MODES)


def decode(path: Path, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """Return the pixels uint8 [H, W, C]: turned upright by EXIF, transparency laid on white, `channels` 1 or 3,
    resized and cropped to a square of `image_size` when that is set.

    Raises:
        UserError: the file cannot be read, is cut off, or is not an image of 8 or 16 bits.
    """
    with _opened(path) as stored:
        image = _in_8_bits(ImageOps.exif_transpose(stored), stored.format, path)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("L" if channels == 1 else "RGB")
        if image_size is not None:
            image = resize_and_crop(image, image_size)
        return np.asarray(image).reshape(image.height, image.width, channels)


def _in_8_bits(image: Image.Image, kind: str | None, path: Path) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # 0 to 65535
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError(f"{path} has 32-bit pixels, whose range is unknown: convert it to 8 or 16 bits")
    return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image. What Pillow raises, of many kinds for damaged files, becomes a sentence that names the file."""
    try:
        # Opened as a stream: given a path, Pillow maps uncompressed files into memory and scrambles rotated TIFFs.
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as image:
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{path} has too many pixels for a photograph: remove it or make it smaller") from None
    except OSError as error:
        if error.errno is not None:
            raise UserError(f"{path} cannot be read ({error.strerror}): check it") from None
        raise _damaged(path) from error
    except Exception as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is cut off or not an image: remove or replace it")
