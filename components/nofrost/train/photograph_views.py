"""Pixels of stored photographs for the views of a batch, decoded in threads.

Each photograph of a batch is a row of one of several aligned sources (the split, or augmentation sets), whose numbers
say which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.data import Images, Photographs
from nofrost.train.decoding import decoded_crops
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


class Crops:
    """Crops of the photographs of a batch, drawn for one view after the other and then decoded together: a photograph
    that several views crop is decoded once.

    Args:
        size: height and width of all crops.
    """

    def __init__(self, size: tuple[int, int], threads: DecodingThreads) -> None:
        self._size, self._threads = size, threads
        self._wanted: dict[tuple[int, int], list[_Wanted]] = {}

    def add(
        self, sources: Sequence[Photographs], numbers: Rows, rows: Rows, boxes: Tensor, mirrored: Tensor | None
    ) -> Tensor:
        """Return where boxes of stored photographs will be, resized, after :meth:`decode`: uint8 [n, C, *size].

        Args:
            boxes: int64 [n, 4], top, left, height and width of each in pixels.
            mirrored: bool [n], which to mirror left to right; None for none.
        """
        images = np.empty((len(rows), sources[0].channels, *self._size), np.uint8)
        flags = [False] * len(rows) if mirrored is None else mirrored.tolist()
        for position, (box, flag) in enumerate(zip(boxes.tolist(), flags, strict=True)):
            source, row = sources[numbers[position]], int(rows[position])
            wanted = _Wanted(source, row, box, flag, images[position])
            self._wanted.setdefault((id(source), row), []).append(wanted)
        return torch.from_numpy(images)

    def decode(self) -> None:
        """Decode all photographs that were asked for since the last time.

        Raises:
            UserError: a photograph is damaged.
        """
        photographs = list(self._wanted.values())
        self._wanted = {}

        def write(number: int) -> None:
            first, *_ = wanted = photographs[number]
            pixels = decoded_crops(first.source, first.row, [each.box for each in wanted], self._size)
            for each, crop in zip(wanted, pixels, strict=True):
                # Here, in many threads, the channels take their place in no time.
                each.image[...] = (crop[:, ::-1] if each.is_mirrored else crop).transpose(2, 0, 1)

        self._threads.run(write, len(photographs))


@dataclass(frozen=True)
class _Wanted:
    """A box of a row of a source, and the image uint8 [C, H, W] that it is written to."""

    source: Photographs
    row: int
    box: list[int]
    is_mirrored: bool
    image: NDArray[np.uint8]


def evaluation_views(sources: Sequence[Photographs], numbers: Rows, rows: Rows, threads: DecodingThreads) -> Tensor:
    """Return the evaluation view of photographs: uint8 [n, C, crop, crop].

    Raises:
        UserError: a photograph is damaged.
    """
    count, height, width, channels = len(rows), *sources[0].shape[1:]
    images = np.empty((count, channels, height, width), np.uint8)

    def write(position: int) -> None:
        # Here, in many threads, the channels take their place in no time; float32 images would take ten times as long.
        images[position] = sources[numbers[position]].viewed(int(rows[position])).transpose(2, 0, 1)

    threads.run(write, count)
    return torch.from_numpy(images)
