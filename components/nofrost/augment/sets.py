"""A set on disk while it is made: block after block, resumable, in memory one block at a time."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.augment.base import Augmenter, ImageBlock, Values
from nofrost.augment.originals import Originals, Pixels
from nofrost.data import ShardManifest
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.parallel import threaded_map
from nofrost.data.shards import index
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.errors import UserError
from nofrost.files import read_checked_json, sha256_file, write_checked_json
from nofrost.stage import save_interval_s
from nofrost.telemetry import progress
from nofrost.telemetry.work import Progress

ARRAY = "images.npy"


@dataclass(frozen=True)
class SetFiles:
    """The images of a set on disk: the checksum of its array or index, and the shards of photographs."""

    sha256: str
    shards: tuple[ShardManifest, ...] = ()


@dataclass(frozen=True)
class SetWork:
    """The work of making the images of one set.

    Attributes:
        method: name of the set.
        augmenter: of its images.
        originals: all training images.
        labels: int64 [N], which shards of photographs hold beside them.
        blocks: those that are made here, as a range of their numbers; all, or a shard's.
        folder: of the set.
        saved: file in which progress is saved; another run with it goes on.
    """

    method: str
    augmenter: Augmenter
    originals: Originals
    labels: NDArray[np.int64]
    blocks: range
    folder: Path
    saved: Path

    def run(self) -> tuple[SetFiles, list[Values]]:
        """Make the images and return their files, and what was measured of each block."""
        slices = self.originals.blocks()[self.blocks.start : self.blocks.stop]
        values = self._load()
        rows = slices[-1].stop - slices[0].start if slices else 0
        if self.originals.are_photographs:
            return self._photographs(slices, values, rows)
        return self._array(slices, values, rows)

    def _array(self, slices: list[slice], values: list[Values], rows: int) -> tuple[SetFiles, list[Values]]:
        path = self.folder / ARRAY
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (rows, *self.originals.images.shape[1:])
        finished = sum(part.stop - part.start for part in slices[: len(values)])
        # Not through a memory map: on a full disk that would end the process (SIGBUS) without a message.
        with path.open("r+b" if values and path.exists() else "wb") as file, self._bar(rows, finished) as bar:
            if not _at_row(file, shape, finished):
                values, finished = [], 0
            last_save = time.monotonic()
            for images, measured in self._made(slices, len(values)):
                file.write(np.ascontiguousarray(images).data)
                values.append(measured)
                bar.advance(len(images))
                if time.monotonic() - last_save > save_interval_s():
                    file.flush()
                    os.fsync(file.fileno())
                    self._save(values)
                    last_save = time.monotonic()
        return SetFiles(sha256_file(path)), values

    def _photographs(self, slices: list[slice], values: list[Values], rows: int) -> tuple[SetFiles, list[Values]]:
        first = slices[0].start if slices else 0
        writer = ShardWriter(self.folder, self.method)
        # Blocks end inside of shards: the one that a shard ends in is made again, and what is stored of it left out.
        blocks = next((number for number, part in enumerate(slices) if part.stop - first > writer.count), len(slices))
        blocks = min(blocks, len(values))
        del values[blocks:]
        known = slices[blocks].start - first if blocks < len(slices) else rows
        with self._bar(rows, known) as bar:

            def photographs() -> Iterator[Photograph]:
                row = first + known
                stored = first + writer.count
                for images, measured in self._made(slices, blocks):
                    for content, image in zip(threaded_map(_encoded, images), images, strict=True):
                        if row >= stored:
                            yield Photograph(content, int(self.labels[row]), image.shape[:2])
                        row += 1
                    values.append(measured)
                    bar.advance(len(images))

            for _ in writer.write(photographs()):
                self._save(values)
        shards = writer.finish()[1]
        return SetFiles(sha256_file(self.folder / index.FILE), shards), values

    def _made(self, slices: list[slice], first: int) -> Iterator[tuple[Pixels | Sequence[Pixels], Values]]:
        """Yield the images of each block and what was measured of them; the next originals are read meanwhile."""
        remaining = slices[first:]
        reads = threaded_map(self.originals.read, remaining, most_ahead=2) if self.originals.are_photographs else None
        for number, part in enumerate(remaining, self.blocks.start + first):
            images = next(reads) if reads else self.originals.read(part)
            yield self.augmenter.augment(ImageBlock(number, part.start, images))

    def _bar(self, rows: int, done: int) -> AbstractContextManager[Progress]:
        return progress(self.method, rows, done)

    def _save(self, values: list[Values]) -> None:
        write_checked_json(self.saved, values)

    def _load(self) -> list[Values]:
        try:
            values: list[Values] = read_checked_json(self.saved) if self.saved.exists() else []
        except UserError:
            return []
        return values


def _at_row(file: IO[bytes], shape: tuple[int, ...], row: int) -> bool:
    """Write the header of an array file, cut it behind `row` rows and go there; return whether they are all there."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    end = file.tell() + row * int(np.prod(shape[1:]))
    complete = size >= end or row == 0
    file.truncate(end if complete else file.tell())
    file.seek(0, os.SEEK_END)
    return complete


def _encoded(image: Pixels) -> bytes:
    return encode_jpeg(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image))
