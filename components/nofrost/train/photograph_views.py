"""Pixels of stored photographs for the views of a batch, decoded in threads.

Each photograph of a batch is a row of one of several aligned sources (the split, or augmentation sets), whose numbers
say which.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.data import Images, Photographs, to_tensor
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
    size: tuple[int, int],
    threads: DecodingThreads,
) -> Tensor:
    """Return boxes of stored photographs, resized: float32 [n, C, *size] in [0, 1].

    Args:
        boxes: int64 [n, 4], top, left, height and width of each in pixels.

    Raises:
        UserError: a photograph is damaged.
    """
    pixels = np.empty((len(rows), *size, sources[0].channels), np.uint8)
    places = boxes.tolist()

    def write(position: int) -> None:
        source = sources[numbers[position]]
        pixels[position] = decoded_crop(source, int(rows[position]), places[position], size)

    threads.run(write, len(rows))
    return to_tensor(pixels)


def evaluation_views(sources: Sequence[Photographs], numbers: Rows, rows: Rows, threads: DecodingThreads) -> Tensor:
    """Return the evaluation view of photographs: float32 [n, C, crop, crop] in [0, 1].

    Raises:
        UserError: a photograph is damaged.
    """
    pixels = np.empty((len(rows), *sources[0].shape[1:]), np.uint8)

    def write(position: int) -> None:
        pixels[position] = sources[numbers[position]].viewed(int(rows[position]))

    threads.run(write, len(rows))
    return to_tensor(pixels)
