"""Access to the bytes of shards."""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Protocol

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.system_errors import cannot_read


class ShardFiles(Protocol):
    """The shards of a split or an augmentation set; several threads may read at once."""

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on; fewer where it ends before.

        Raises:
            UserError: the shard is missing or cannot be read; the message names it.
        """

    def place(self, shard: int) -> str:
        """Return where the shard lies, for messages."""

    def close(self) -> None:
        """Close open files; reading opens them again."""


class LocalFiles:
    """Shards in a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / name for name in names]
        self._descriptors: dict[int, int] = {}
        self._lock = Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on; fewer where it ends before."""
        try:
            return os.pread(self._descriptor(shard), size, offset)
        except FileNotFoundError:
            raise UserError(f"{self.place(shard)} is missing: prepare or pull the dataset again") from None
        except OSError as error:
            raise cannot_read(error, self._paths[shard]) from None

    def place(self, shard: int) -> str:
        """Return the path of a shard."""
        return str(self._paths[shard])

    def close(self) -> None:
        """Close all open shards."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def _descriptor(self, shard: int) -> int:
        with self._lock:
            if shard not in self._descriptors:
                self._descriptors[shard] = os.open(regular_file(self._paths[shard]), os.O_RDONLY | os.O_CLOEXEC)
            return self._descriptors[shard]

    def __del__(self) -> None:
        self.close()
