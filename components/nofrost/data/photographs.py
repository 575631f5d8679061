"""Photographs of one split or augmentation set, in shards. Indexing gives their evaluation view."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data.central_square import central_square
from nofrost.data.jpeg import decode_photograph
from nofrost.data.parallel import cores
from nofrost.data.shards.access import REMEDY, ShardFiles
from nofrost.data.shards.index import Index
from nofrost.errors import UserError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Photographs:
    """JPEGs of any size, read by row; `images[rows]` are their evaluation view, uint8 [n, crop, crop, C].

    Attributes:
        index: structured [N]: where each lies, and its size (nofrost/data/shards/index.py).
        files: read the shards.
        view: the evaluation view that indexing returns.
        channels: 1 (grey) or 3 (RGB).
    """

    index: Index
    files: ShardFiles
    view: EvaluationView
    channels: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C) of what indexing all rows would give."""
        return len(self), self.view.crop, self.view.crop, self.channels

    def sizes(self, rows: Rows) -> Rows:
        """Return height and width in pixels of the stored photographs of these rows: int64 [n, 2]."""
        records = self.index[rows]
        return np.stack((records["height"], records["width"]), axis=-1).astype(np.int64)

    def with_view(self, view: EvaluationView) -> Photographs:
        """Return the same photographs with another evaluation view."""
        return replace(self, view=view)

    def with_files(self, files: ShardFiles) -> Photographs:
        """Return the same photographs, their shards read by `files`."""
        return replace(self, files=files)

    def encoded(self, row: int) -> bytes:
        """Return the stored JPEG of a row, its checksum compared.

        Raises:
            UserError: its shard is missing or damaged.
        """
        record = self.index[row]
        shard, offset, size, checksum = (int(record[key]) for key in ("shard", "offset", "size", "crc32"))
        content = self.files.read(shard, offset, size)
        if zlib.crc32(content) != checksum and self.files.renew(shard):
            content = self.files.read(shard, offset, size)
        if zlib.crc32(content) != checksum:
            raise UserError(f"{self.files.place(shard)} is cut off or damaged at record {row}: {REMEDY}")
        return content

    def decoded(self, row: int) -> Image.Image:
        """Return the photograph of a row as Pillow decodes it, in mode L or RGB.

        Raises:
            UserError: its shard is missing or damaged, or it is not a JPEG.
        """
        return self._decode(row, self.encoded(row))

    def viewed(self, row: int) -> NDArray[np.uint8]:
        """Return the evaluation view of a row: uint8 [crop, crop, C].

        Raises:
            UserError: as :meth:`decoded`.
        """
        pixels = np.asarray(central_square(self.decoded(row), self.view))
        return pixels.reshape(self.shape[1:])

    def __getitem__(self, rows: Rows | slice) -> NDArray[np.uint8]:
        """Return the evaluation views of rows, decoded in threads: uint8 [n, crop, crop, C].

        Raises:
            UserError: as :meth:`decoded`.
        """
        numbers = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        images = np.empty((len(numbers), *self.shape[1:]), np.uint8)

        def write(position: int) -> None:
            images[position] = self.viewed(int(numbers[position]))

        with ThreadPoolExecutor(cores()) as pool:
            # asks for each result, so that an error is raised
            for _ in pool.map(write, range(len(numbers))):
                pass
        return images

    def _decode(self, row: int, content: bytes) -> Image.Image:
        try:
            return decode_photograph(content, self.channels)
        except ValueError as error:
            place = self.files.place(int(self.index[row]["shard"]))
            raise UserError(f"record {row} in {place} cannot be decoded ({error}): {REMEDY}") from None


Images = NDArray[np.uint8] | Photographs
"""Images of a split: one array uint8 [N, H, W, C], or photographs; both have `shape` and give the images of rows."""
