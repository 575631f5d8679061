"""Decoding of crops of stored photographs: by simplejpeg where the extra ``fast`` is installed, otherwise by Pillow.

Both wrap libjpeg-turbo and give equal bits. Where a crop is at least twice as large as its result, simplejpeg decodes
at a half, a quarter or an eighth of the size (scaled DCT), which saves most of the time and changes pixels slightly:
this is for training alone, and evaluation decodes by Pillow. Crops are resized by torch, as torchvision resizes
tensors of levels: in a third of Pillow's time, and at most one level from it.
"""

import math
import threading
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from nofrost.data import Photographs
from nofrost.data.jpeg import first_lines

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

SCALES = (8, 4, 2)  # of the DCT, beside 1
# Lines that are decoded below a crop: those of two blocks, from which its last line may be interpolated
MARGIN = 16
# By the number of channels: what simplejpeg makes, and what it has to find. Others, such as CMYK, are left to Pillow.
COLOURS = {1: ("Gray",), 3: ("RGB", "YCbCr", "Gray")}
_OF_THREAD = threading.local()


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
        crop = _resized(np.array(photographs.decoded(row).crop((left, top, left + width, top + height))), size)
    return crop.reshape(*size, photographs.channels)


def _scaled_crop(
    photographs: Photographs, row: int, box: Sequence[int], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Return the resized box as simplejpeg decodes it; None for what is left to Pillow."""
    stored, colours = photographs.encoded(row), COLOURS[photographs.channels]
    try:
        stored_height, stored_width, stored_colours, _ = simplejpeg.decode_jpeg_header(stored, strict=False)
        if stored_colours not in colours:
            return None
        top, left, height, width = box
        scale = next((scale for scale in SCALES if min(height / size[0], width / size[1]) >= scale), 1)
        lines = min(stored_height, top + height + MARGIN)
        content = first_lines(stored, lines) if lines < stored_height else stored
        least = {"min_height": math.ceil(lines / scale), "min_width": math.ceil(stored_width / scale)}
        buffer = _buffer(stored_height * stored_width * photographs.channels)
        pixels = simplejpeg.decode_jpeg(
            content, colours[0], strict=False, buffer=buffer, **(least if scale > 1 else {})
        )
    except ValueError:
        return None
    # Cut before it is resized, as torchvision does: pixels around the box have no part in the result.
    rows, upper, lower = _within(top, height, scale, pixels.shape[0])
    columns, near, far = _within(left, width, scale, pixels.shape[1])
    cut = np.ascontiguousarray(pixels[rows, columns])
    if scale == 1:
        return _resized(cut, size)
    # Only Pillow resizes boxes that begin or end between two pixels.
    image = Image.fromarray(cut[..., 0] if photographs.channels == 1 else cut)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR, box=(near, upper, far, lower)))


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 [h, w] or [h, w, C], bilinear and antialiased, as uint8 [*size, C]."""
    images = torch.from_numpy(pixels.reshape(1, *pixels.shape[:2], -1)).permute(0, 3, 1, 2)
    resized: NDArray[np.uint8] = F.interpolate(images, size, mode="bilinear", antialias=True)[0].numpy()
    return resized.transpose(1, 2, 0)


def _buffer(size: int) -> NDArray[np.uint8]:
    """Return memory of this thread for so many bytes: new memory costs a quarter of the time of decoding into it."""
    buffer: NDArray[np.uint8] | None = getattr(_OF_THREAD, "buffer", None)
    if buffer is None or len(buffer) < size:
        _OF_THREAD.buffer = buffer = np.empty(size, np.uint8)
    return buffer


def _within(start: int, length: int, scale: int, lines: int) -> tuple[slice, float, float]:
    """Return which of the decoded lines a range of stored ones touches, and where among these it begins and ends.

    Args:
        scale: stored lines of a decoded one.
        lines: how many are decoded.
    """
    first, last = start / scale, (start + length) / scale
    touched = slice(math.floor(first), min(lines, math.ceil(last)))
    return touched, first - touched.start, last - touched.start
