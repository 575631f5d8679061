"""Millions of short texts in little memory."""

import os
from array import array
from collections.abc import Iterable


class PackedPaths:
    """Paths one after another in one buffer: as objects of their own they would take three times the memory."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        self.extend(paths)

    def extend(self, paths: Iterable[str]) -> None:
        """Append paths."""
        for path in paths:
            self._bytes += os.fsencode(path)
            self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedPaths) and (self._bytes, self._ends) == (other._bytes, other._ends)

    def __getitem__(self, row: int) -> str:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return os.fsdecode(bytes(self._bytes[self._ends[row] : self._ends[row + 1]]))
