"""What is in the folder of a :class:`nofrost.data.shards.shard_cache.ShardCache`.

A shard is a file named by its md5. Beside it lie ``.MD5.nofrost-lock`` while one process fetches it, and
``.MD5.nofrost-tmp``, which has the size of the shard from the beginning, so that promised space counts.
``.NAME.nofrost-pins`` lists the shards that a process needs to stay, and is locked as long as it lives.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from nofrost.files import MARK, LocksUnknownError, lock, make_folder, work_path
from nofrost.lock import is_written

# Where the disk knows no locks, what was not written to for so long belongs to a process that was killed.
_DEAD_AFTER_S = 24 * 3600
_SHARD = re.compile("[0-9a-f]{32}")
_UNFINISHED = re.compile(rf"\.([0-9a-f]{{32}}){re.escape(MARK)}tmp")
_PINS = re.compile(rf"\..+{re.escape(MARK)}pins")


@dataclass(frozen=True)
class CachedShard:
    """A whole shard: its md5, its bytes, and when it was last used, in nanoseconds since 1970."""

    md5: str
    size: int
    used: int


@dataclass
class CacheContents:
    """What is in the folder.

    Attributes:
        shards: whole ones.
        fetching: bytes of those that are being fetched, by their md5.
        pinned: md5 of those that processes need to stay.
    """

    shards: list[CachedShard] = field(default_factory=list)
    fetching: dict[str, int] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """Bytes of all shards, with those that are being fetched."""
        return sum(shard.size for shard in self.shards) + sum(self.fetching.values())


def contents_of(folder: Path) -> CacheContents:
    """Return what is in the folder, after deleting what killed processes left; nothing may come or go meanwhile."""
    contents = CacheContents()
    with os.scandir(folder) as entries:
        for entry in entries:
            # Other processes delete their own pins at any time.
            with suppress(FileNotFoundError):
                _add(contents, folder, entry)
    return contents


@contextmanager
def pins(folder: Path, md5s: Iterable[str], space: AbstractContextManager[None]) -> Iterator[None]:
    """Keep shards, which may still have to be fetched, in the folder during the block.

    Args:
        space: the lock in which files come into the folder or leave it.
    """
    path = work_path(folder / secrets.token_hex(8), "pins")
    make_folder(folder)
    with space:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(LocksUnknownError):
            lock(path, descriptor)
        os.write(descriptor, "".join(f"{md5}\n" for md5 in md5s).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _add(contents: CacheContents, folder: Path, entry: os.DirEntry[str]) -> None:
    if _SHARD.fullmatch(entry.name):
        status = entry.stat(follow_symlinks=False)
        contents.shards.append(CachedShard(entry.name, status.st_size, status.st_mtime_ns))
    elif match := _UNFINISHED.fullmatch(entry.name):
        shard = folder / match[1]
        if _is_dead(entry, lambda: is_written(shard)):
            Path(entry).unlink()
        else:
            contents.fetching[match[1]] = entry.stat(follow_symlinks=False).st_size
    elif _PINS.fullmatch(entry.name):
        if _is_dead(entry, lambda: _is_locked(entry)):
            Path(entry).unlink()
        else:
            contents.pinned.update(Path(entry).read_text(encoding="ascii").split())


def _is_dead(entry: os.DirEntry[str], is_used: Callable[[], bool]) -> bool:
    try:
        return not is_used()
    except LocksUnknownError:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _DEAD_AFTER_S


def _is_locked(entry: os.DirEntry[str]) -> bool:
    descriptor = os.open(entry, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return not lock(Path(entry), descriptor)
    finally:
        os.close(descriptor)
