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


def decoded_crops(
    photographs: Photographs, row: int, boxes: Sequence[Sequence[int]], size: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """Return boxes of a stored photograph resized (bilinear, antialiased), each uint8 [H, W, C].

    The photograph is read once, and decoded once for all boxes of one scale.

    Args:
        boxes: top, left, height and width of each in pixels of the photograph.
        size: height and width of the results.

    Raises:
        UserError: the photograph is damaged.
    """
    crops = _scaled_crops(photographs, row, boxes, size) if simplejpeg else None
    if crops is None:
        image = photographs.decoded(row)
        crops = [
            _resized(np.array(image.crop((left, top, left + width, top + height))), size)
            for top, left, height, width in boxes
        ]
    return [crop.reshape(*size, photographs.channels) for crop in crops]


def _scaled_crops(
    photographs: Photographs, row: int, boxes: Sequence[Sequence[int]], size: tuple[int, int]
) -> list[NDArray[np.uint8]] | None:
    """Return the resized boxes as simplejpeg decodes them; None for what is left to Pillow."""
    stored, colours = photographs.encoded(row), COLOURS[photographs.channels]
    crops: dict[int, NDArray[np.uint8]] = {}
    try:
        height, width, stored_colours, _ = simplejpeg.decode_jpeg_header(stored, strict=False)
        if stored_colours not in colours:
            return None
        scales = [_scale(box, size) for box in boxes]
        for scale in dict.fromkeys(scales):
            numbers = [number for number, each in enumerate(scales) if each == scale]
            lines = min(height, max(boxes[number][0] + boxes[number][2] for number in numbers) + MARGIN)
            content = first_lines(stored, lines) if lines < height else stored
            least = {"min_height": math.ceil(lines / scale), "min_width": math.ceil(width / scale)}
            buffer = _buffer(height * width * photographs.channels)
            pixels = simplejpeg.decode_jpeg(
                content, colours[0], strict=False, buffer=buffer, **(least if scale > 1 else {})
            )
            crops |= {number: _cut(pixels, boxes[number], scale, size) for number in numbers}
    except ValueError:
        return None
    return [crops[number] for number in range(len(boxes))]


def _scale(box: Sequence[int], size: tuple[int, int]) -> int:
    """Return the largest scale at which a box is still as large as its result."""
    return next((scale for scale in SCALES if min(box[2] / size[0], box[3] / size[1]) >= scale), 1)


def _cut(pixels: NDArray[np.uint8], box: Sequence[int], scale: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a box of a photograph that was decoded at a scale, resized; not in the memory of `pixels`."""
    top, left, height, width = box
    # Cut before it is resized, as torchvision does: pixels around the box have no part in the result.
    rows, upper, lower = _within(top, height, scale, pixels.shape[0])
    columns, near, far = _within(left, width, scale, pixels.shape[1])
    cut = np.ascontiguousarray(pixels[rows, columns])
    if scale == 1:
        return _resized(cut, size)
    # Only Pillow resizes boxes that begin or end between two pixels.
    image = Image.fromarray(cut[..., 0] if pixels.shape[2] == 1 else cut)
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
