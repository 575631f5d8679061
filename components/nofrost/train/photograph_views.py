"""Pixels of stored photographs for the views of a batch, decoded in threads.

Each photograph of a batch is a row of one of several aligned sources (the split, or augmentation sets), whose numbers
say which.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.data import Images, Photographs
from nofrost.train.decoding import decoded_crop
from nofrost.train.decoding_threads import DecodingThreads

Rows = NDArray[np.int64]


def photographs_of(sources: Sequence[Images]) -> list[Photographs]:
    """Return the sources if they are photographs; none if they are arrays."""
    return [source for source in sources if isinstance(source, Photographs)]


def stored_sizes(sources: Sequence[Photographs], numbers: Rows, rows: Rows) -> Tensor:
    """Return height and width of the stored photographs, without reading them: int64 [n, 2].

    Args:
        numbers: int64 [n], of the source of each; one past the last for a photograph that is not needed.
        rows: int64 [n], of each in its source.
    """
    sizes = np.ones((len(rows), 2), np.int64)
    for number, source in enumerate(sources):
        sizes[numbers == number] = source.sizes(rows[numbers == number])
    return torch.from_numpy(sizes)


def crops(
    sources: Sequence[Photographs],
    numbers: Rows,
    rows: Rows,
    boxes: Tensor,
    mirrored: Tensor | None,
    size: tuple[int, int],
    threads: DecodingThreads,
) -> Tensor:
    """Return boxes of stored photographs, resized: uint8 [n, C, *size].

    Args:
        boxes: int64 [n, 4], top, left, height and width of each in pixels.
        mirrored: bool [n], which to mirror left to right; None for none.

    Raises:
        UserError: a photograph is damaged.
    """
    places = boxes.tolist()
    flags = [False] * len(rows) if mirrored is None else mirrored.tolist()

    def crop(position: int) -> NDArray[np.uint8]:
        source = sources[numbers[position]]
        pixels = decoded_crop(source, int(rows[position]), places[position], size)
        return pixels[:, ::-1] if flags[position] else pixels

    return _together(crop, (len(rows), sources[0].channels, *size), threads)


def evaluation_views(sources: Sequence[Photographs], numbers: Rows, rows: Rows, threads: DecodingThreads) -> Tensor:
    """Return the evaluation view of photographs: uint8 [n, C, crop, crop].

    Raises:
        UserError: a photograph is damaged.
    """
    count, height, width, channels = len(rows), *sources[0].shape[1:]

    def view(position: int) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = sources[numbers[position]].viewed(int(rows[position]))
        return pixels

    return _together(view, (count, channels, height, width), threads)


def _together(
    pixels_of: Callable[[int], NDArray[np.uint8]], shape: tuple[int, int, int, int], threads: DecodingThreads
) -> Tensor:
    """Return the pixels of all positions, of which `pixels_of` gives uint8 [H, W, C], as one uint8 [n, C, H, W]."""
    images = np.empty(shape, np.uint8)

    def write(position: int) -> None:
        # Here, in many threads, the channels take their place in no time; float32 images would take ten times as long.
        images[position] = pixels_of(position).transpose(2, 0, 1)

    threads.run(write, shape[0])
    return torch.from_numpy(images)
