"""Access to the bytes of shards."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.system_errors import cannot_read

REMEDY = "make the images again with the stage that wrote them, or pull them again"
"""Of damage to what a dataset and an augmentation set have alike: an index, and shards."""
_MOST_OPEN = 64  # of one split or set; opening is far cheaper than decoding what is read


class ShardFiles(Protocol):
    """The shards of a split or an augmentation set; several threads may read at once."""

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on; fewer where it ends before.

        Raises:
            UserError: the shard is missing or cannot be read; the message names it.
        """

    def renew(self, shard: int) -> bool:
        """Fetch a shard again in which a record is damaged; return False where it comes from nowhere else.

        Raises:
            UserError: it is altered where it is stored, or cannot be fetched.
        """

    def place(self, shard: int) -> str:
        """Return where the shard lies, for messages."""

    def close(self) -> None:
        """Close open files; reading opens them again."""


class LocalFiles:
    """Shards in a folder; of a set with thousands, few are open at a time, as a process may not open many files."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / name for name in names]
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._lock = Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on; fewer where it ends before."""
        try:
            return self._file(shard).read(size, offset)
        except FileNotFoundError:
            raise UserError(f"{self.place(shard)} is missing: {REMEDY}") from None
        except OSError as error:
            raise cannot_read(error, self._paths[shard]) from None

    def renew(self, shard: int) -> bool:
        """Return False: the folder of a dataset has nothing but its shards."""
        return False

    def place(self, shard: int) -> str:
        """Return the path of a shard."""
        return str(self._paths[shard])

    def close(self) -> None:
        """Close all open shards."""
        with self._lock:
            self._open.clear()

    def _file(self, shard: int) -> "_OpenFile":
        with self._lock:
            if shard not in self._open:
                self._open[shard] = _OpenFile(self._paths[shard])
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]


class _OpenFile:
    """A file that is closed when nobody holds it any more, so that no thread loses the one it reads."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = os.open(regular_file(path), os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, offset: int) -> bytes:
        assert self._descriptor is not None
        return os.pread(self._descriptor, size, offset)

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
