"""Decoding of crops of stored photographs: by simplejpeg where the extra ``fast`` is installed, otherwise by Pillow.

Both wrap libjpeg-turbo and give equal bits. Where a crop is at least twice as large as its result, simplejpeg decodes
at a half, a quarter or an eighth of the size (scaled DCT), which saves most of the time and changes pixels slightly:
this is for training alone, and evaluation decodes by Pillow.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.data import Photographs

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

SCALES = (8, 4, 2)  # of the DCT, beside 1
# By the number of channels: what simplejpeg makes, and what it has to find. Others, such as CMYK, are left to Pillow.
COLOURS = {1: ("Gray",), 3: ("RGB", "YCbCr", "Gray")}


def decoders() -> tuple[str, ...]:
    """Return the libraries whose versions decide the pixels of training on photographs."""
    return ("pillow", "simplejpeg") if simplejpeg else ("pillow",)


def decoded_crop(photographs: Photographs, row: int, box: Sequence[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a box of a stored photograph resized (bilinear, antialiased): uint8 [H, W, C].

    Args:
        box: top, left, height and width in pixels of the photograph.
        size: height and width of the result.

    Raises:
        UserError: the photograph is damaged.
    """
    crop = _scaled_crop(photographs, row, box, size) if simplejpeg else None
    if crop is None:
        top, left, height, width = box
        image = photographs.decoded(row).crop((left, top, left + width, top + height))
        crop = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(crop).reshape(*size, photographs.channels)


def _scaled_crop(photographs: Photographs, row: int, box: Sequence[int], size: tuple[int, int]) -> Image.Image | None:
    """Return the resized box as simplejpeg decodes it; None for what is left to Pillow."""
    content, colours = photographs.encoded(row), COLOURS[photographs.channels]
    try:
        stored_height, stored_width, stored_colours, _ = simplejpeg.decode_jpeg_header(content, strict=False)
        if stored_colours not in colours:
            return None
        top, left, height, width = box
        scale = next((scale for scale in SCALES if min(height / size[0], width / size[1]) >= scale), 1)
        least = {"min_height": math.ceil(stored_height / scale), "min_width": math.ceil(stored_width / scale)}
        pixels = simplejpeg.decode_jpeg(content, colours[0], strict=False, **(least if scale > 1 else {}))
    except ValueError:
        return None
    if photographs.channels == 1:
        pixels = pixels[..., 0]
    # Cut before it is resized, as torchvision does: pixels around the box have no part in the result.
    rows, upper, lower = _within(top, height, scale, pixels.shape[0])
    columns, near, far = _within(left, width, scale, pixels.shape[1])
    cut = Image.fromarray(np.ascontiguousarray(pixels[rows, columns]))
    return cut.resize(size[::-1], Image.Resampling.BILINEAR, box=(near, upper, far, lower))


def _within(start: int, length: int, scale: int, lines: int) -> tuple[slice, float, float]:
    """Return which of the decoded lines a range of stored ones touches, and where among these it begins and ends.

    Args:
        scale: stored lines of a decoded one.
        lines: how many are decoded.
    """
    first, last = start / scale, (start + length) / scale
    touched = slice(math.floor(first), min(lines, math.ceil(last)))
    return touched, first - touched.start, last - touched.start
