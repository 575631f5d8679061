"""A file that only ever grows: what is found of each batch, so that a kill repeats at most the batch it was in."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.evaluate.sample import Rows

_HEAD = struct.Struct("<Q")  # the number of rows
_DIGEST = hashlib.sha256().digest_size


class Journal:
    """Rows and their values, batch by batch; work inside ``with``.

    A record holds the number of rows, the rows, their values and a checksum of all that. What an earlier run wrote is
    read up to the first record that is not whole, and what comes after that is cut off. A record is handed to the
    operating system at once: a killed process loses nothing, a machine that loses its power a few batches at most.

    Args:
        path: the file; made when it is not there. None: nothing is kept.
        dtype: of the values.
    """

    def __init__(self, path: Path | None, dtype: np.dtype[Any]) -> None:
        self._path, self._dtype = path, dtype
        self.found: list[tuple[Rows, NDArray[Any]]] = []

    def __enter__(self) -> Journal:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b", buffering=0)
            self._file.seek(0)
            content = self._file.read()
            self.found = list(self._records(content))
            self._file.truncate(sum(len(self._record(rows, values)) for rows, values in self.found))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None:
            self._file.close()

    def add(self, rows: Rows, values: NDArray[Any]) -> None:
        """Keep the values [n] of these rows [n]."""
        if self._path is not None:
            record = self._record(rows, values)
            written = self._file.write(record)
            if written != len(record):
                raise OSError(f"{len(record)} requested and {written} written")

    def _record(self, rows: Rows, values: NDArray[Any]) -> bytes:
        body = _HEAD.pack(len(rows)) + rows.astype("<i8").tobytes() + values.astype(self._dtype).tobytes()
        return body + self._checksum(body)

    def _records(self, content: bytes) -> Iterator[tuple[Rows, NDArray[Any]]]:
        start = 0
        while len(content) >= start + _HEAD.size:
            (count,) = _HEAD.unpack_from(content, start)
            rows_at = start + _HEAD.size
            values_at = rows_at + 8 * count
            end = values_at + self._dtype.itemsize * count
            if content[end : end + _DIGEST] != self._checksum(content[start:end]):
                return
            rows = np.frombuffer(content[rows_at:values_at], dtype="<i8").astype(np.int64)
            yield rows, np.frombuffer(content[values_at:end], dtype=self._dtype)
            start = end + _DIGEST

    def _checksum(self, body: bytes) -> bytes:
        return hashlib.sha256(self._dtype.str.encode() + body).digest()
