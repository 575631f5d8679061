"""One photograph: its header and its pixels, upright, without transparency, in 8 bits."""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data.central_square import central_square
from nofrost.errors import UserError, reason
from nofrost.limits import regular_file
from nofrost.prepare.pixels import resize_and_crop
from nofrost.system_errors import cannot_read

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif")
)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_LARGE_PIXELS = 1 << 23  # images above are decoded one after another, as each takes hundreds of megabytes
_ONE_LARGE_IMAGE = threading.Lock()
_AHEAD_BYTES = 1 << 28  # of decoded images that wait for their turn


def images_ahead(image_bytes: int) -> int:
    """Return how many decoded images of this size may wait for their turn."""
    return max(1, _AHEAD_BYTES // image_bytes)


class ImageFile(Protocol):
    """A file, or a part of one, that holds an image; ``str`` is how messages name it."""

    def open(self) -> IO[bytes]:
        """Return its bytes as a stream that can be sought."""


@dataclass(frozen=True)
class FileImage:
    """An image in a file of its own."""

    path: Path

    def open(self) -> IO[bytes]:
        """Return its bytes; raises a UserError if it is a pipe or device."""
        return regular_file(self.path).open("rb")

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Header:
    """Size (height, width) of the upright image, and whether it is grey."""

    size: tuple[int, int]
    grey: bool


@contextmanager
def refusing_giant_images() -> Iterator[None]:
    """Turn Pillow's warning of an image with suspiciously many pixels into an error, in all threads.

    Its other warnings, such as of odd EXIF data, are of no use to the reader of thousands of images. Enter it in the
    main thread, around all reading, as warning filters apply to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(file: ImageFile) -> Header:
    """Return size and kind of the image without decoding its pixels.

    Raises:
        UserError: it cannot be read or is not an image.
    """
    with opened(file) as image:
        # Pillow decodes a whole PNG to look for EXIF data after the pixels; decode() still turns such an image.
        turn = 1 if image.format == "PNG" and "exif" not in image.info else orientation(image)
        if turn not in _TRANSPOSED:
            return Header((image.height, image.width), image.mode in _GREY_MODES)
    # Pillow gives the upright size of some formats before decoding and of others after it: decode, opened afresh.
    with opened(file) as image:
        turned = ImageOps.exif_transpose(image)
        return Header((turned.height, turned.width), image.mode in _GREY_MODES)


def decode(file: ImageFile, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """Return the pixels uint8 [H, W, C]: upright by EXIF, transparency on white.

    Args:
        channels: 1 for grey or 3 for colour.
        image_size: side in pixels of the square to which the image is resized and cropped; None keeps its size.

    Raises:
        UserError: the file cannot be read, is cut off, or is not an image of 8 or 16 bits.
    """
    with opened(file) as stored, alone_if_large(stored):
        image = upright(stored, channels, file)
        if image_size is not None:
            image = resize_and_crop(image, image_size)
        return np.asarray(image).reshape(image.height, image.width, channels)


def viewed(file: ImageFile, channels: int, view: EvaluationView) -> NDArray[np.uint8]:
    """Return the evaluation view of an image, uint8 [crop, crop, C], otherwise like :func:`decode`."""
    with opened(file) as stored, alone_if_large(stored):
        image = central_square(upright(stored, channels, file), view)
        return np.asarray(image).reshape(view.crop, view.crop, channels)


def upright(stored: Image.Image, channels: int, file: ImageFile) -> Image.Image:
    """Return an opened image upright by EXIF, with transparency on white, in mode L for one channel or RGB for three.

    Raises:
        UserError: its pixels have 32 bits.
    """
    ImageOps.exif_transpose(stored, in_place=True)
    return _on_white(_in_8_bits(stored, stored.format, file), "L" if channels == 1 else "RGB")


def orientation(image: Image.Image) -> int:
    """Return how an opened image is to be turned, as EXIF has it, from 1 (not at all) to 8."""
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def alone_if_large(image: Image.Image) -> AbstractContextManager[object]:
    """Return a lock for the decoding of an image with very many pixels, so that only one takes memory at a time."""
    return _ONE_LARGE_IMAGE if image.width * image.height > _LARGE_PIXELS else nullcontext()


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in this mode, with white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert(mode)
    flat = Image.new(mode, image.size)
    # in strips, as several copies of a large image with four channels would take gigabytes
    rows = max(1, _LARGE_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        flat.paste(Image.alpha_composite(white, strip).convert(mode), (0, top))
    return flat


def _in_8_bits(image: Image.Image, kind: str | None, file: ImageFile) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # 0 to 65535
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError(f"{file} has 32-bit pixels, whose range is unknown: convert it to 8 or 16 bits")
    return image


@contextmanager
def opened(file: ImageFile) -> Iterator[Image.Image]:
    """Open an image without decoding its pixels.

    The many errors that Pillow raises for damaged files, in the block too, become a UserError that names the file.
    """
    try:
        # Opened as a stream: given a path, Pillow maps uncompressed files into memory and scrambles rotated TIFFs.
        with file.open() as stream, Image.open(stream, formats=_FORMATS) as image:
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{file} has too many pixels for a photograph: remove it or make it smaller") from None
    except MemoryError:
        raise UserError(f"{file} needs more memory than there is: remove it or make it smaller") from None
    except UnidentifiedImageError:
        kinds = ", ".join(_FORMATS[:-1])
        raise UserError(
            f"{file} is cut off or not an image of the kinds that are read ({kinds} or {_FORMATS[-1]}): remove or "
            "replace it"
        ) from None
    except OSError as error:
        if error.errno is not None:
            raise cannot_read(error, str(file)) from None
        raise _damaged(file, error) from error
    except Exception as error:
        raise _damaged(file, error) from error


def _damaged(file: ImageFile, error: Exception) -> UserError:
    # Pillow reads them, and stops at a limit.
    if re.search(r"text.chunk", str(error), re.IGNORECASE):
        return UserError(f"{file} has a text or colour profile that is far too large: save it again without it")
    return UserError(f"{file} cannot be decoded ({reason(error)}): remove it, replace it or save it again")
