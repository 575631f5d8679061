"""Write photographs as tar shards and their index: one pass, flat in memory, resumable shard by shard."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nofrost.data.arrays import read_arrays, write_arrays
from nofrost.data.jpeg import PNG_SIGNATURE
from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.index import RECORD, Index, write_index
from nofrost.data.shards.tar import BLOCK, END, member
from nofrost.errors import UserError
from nofrost.files import make_folder, remove

SHARD_BYTES = 1 << 28
"""A shard ends with the record that brings it to this size or more."""
_SUFFIX = ".finished.npz"


@dataclass(frozen=True)
class Photograph:
    """A record: the bytes of an upright JPEG or PNG, its class, and its height and width in pixels."""

    content: bytes
    label: int
    size: tuple[int, int]


class ShardWriter:
    """Writes the photographs of one split or set into the shards ``NAME-000000.tar``, ... of a folder.

    What a shard holds depends on the photographs and `shard_bytes` alone. Each finished shard has its part of the index
    beside it until :meth:`finish`, so that a writer for the same folder goes on after the last one; a shard that was
    cut off is written again.

    Args:
        folder: created if missing; whoever calls deletes it when other photographs are to be written.
        name: of the split or set.
        shard_bytes: a shard is closed when it has that many bytes.
    """

    def __init__(self, folder: Path, name: str, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder, self._name, self._shard_bytes = folder, name, shard_bytes
        self._indices: list[Index] = []
        self._shards: list[ShardManifest] = []
        make_folder(folder)
        while self._load():
            pass

    @property
    def count(self) -> int:
        """Records in finished shards; the photographs that are written next come after them."""
        return sum(shard.records for shard in self._shards)

    def write(self, photographs: Iterable[Photograph]) -> Iterator[int]:
        """Write photographs from row :attr:`count` on; yield the number of records after each finished shard."""
        remaining = iter(photographs)
        while self._write_shard(remaining):
            yield self.count

    def finish(self) -> tuple[Index, tuple[ShardManifest, ...]]:
        """Write the index and return it, structured [N], with the shards."""
        index = np.concatenate(self._indices) if self._indices else np.empty(0, RECORD)
        write_index(self._folder, index)
        for number in range(len(self._shards)):
            remove(self._part(number))
        return index, tuple(self._shards)

    def _write_shard(self, photographs: Iterator[Photograph]) -> bool:
        first = next(photographs, None)
        if first is None:
            return False
        number, start = len(self._shards), self.count
        path = self._folder / self._file(number)
        digest, offset = hashlib.md5(usedforsecurity=False), 0
        records: list[tuple[int, ...]] = []
        # without a temporary name: what has no part of the index beside it does not count
        with path.open("wb") as file:

            def append(content: bytes) -> None:
                nonlocal offset
                file.write(content)
                digest.update(content)
                offset += len(content)

            photograph: Photograph | None = first
            while photograph is not None:
                key, content = f"{start + len(records):09d}", photograph.content
                records.append((number, offset + BLOCK, len(content), zlib.crc32(content), *photograph.size))
                append(member(f"{key}.{'png' if content.startswith(PNG_SIGNATURE) else 'jpg'}", content))
                append(member(f"{key}.cls", str(photograph.label).encode()))
                photograph = None if offset >= self._shard_bytes else next(photographs, None)
            append(END)
            # before its part of the index says that it is whole
            file.flush()
            os.fsync(file.fileno())
        index = np.array(records, RECORD)
        self._add(index, ShardManifest(name=path.name, records=len(index), size=offset, md5=digest.hexdigest()))
        write_arrays(
            self._part(number), {"index": index, "md5": np.array(digest.hexdigest()), "size": np.array(offset)}
        )
        return True

    def _load(self) -> bool:
        """Take over the next shard that was finished before; return whether there was one."""
        number = len(self._shards)
        path = self._folder / self._file(number)
        try:
            part = read_arrays(self._part(number))
            index, md5, size = part["index"], str(part["md5"]), int(part["size"])
            if index.dtype != RECORD or size != path.stat().st_size:
                return False
            # Damage meanwhile, which nobody would look for later, costs the shard.
            with path.open("rb") as file:
                if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
                    return False
        except (UserError, KeyError, FileNotFoundError):
            return False
        self._add(index, ShardManifest(name=path.name, records=len(index), size=size, md5=md5))
        return True

    def _add(self, index: Index, shard: ShardManifest) -> None:
        self._indices.append(index)
        self._shards.append(shard)

    def _file(self, number: int) -> str:
        return f"{self._name}-{number:06d}.tar"

    def _part(self, number: int) -> Path:
        return self._folder / (self._file(number) + _SUFFIX)
