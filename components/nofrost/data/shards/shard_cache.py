"""A folder of shards of bounded size that the processes and tasks of one machine share.

Shards are named by their md5 and fetched whole. Whoever reads compares the checksum of each record, so the md5 of a
whole shard, which would take a tenth of the time that its photographs take, is computed only where a record is damaged.
When space is needed, shards that nobody has announced go first, the least recently used one before the others.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from nofrost.data.shards.access import REMEDY
from nofrost.data.shards.cache_contents import CacheContents, CachedShard, contents_of, pins
from nofrost.data_cache import SIZE_VARIABLE
from nofrost.errors import UnavailableError, UserError
from nofrost.files import LocksUnknownError, make_folder, work_path
from nofrost.lock import folder_lock, is_written
from nofrost.system_errors import cannot_read, cannot_write

# Yields the content of the object with an md5, unverified.
Fetch = Callable[[str], Iterable[bytes]]

# A shard that arrives altered is fetched once more, as the network may be the cause.
_ATTEMPTS = 2
_THREADS = 4
# That a shard is in use is noted in its time of modification, at most that often.
_NOTE_S = 1.0
# Between two looks at whether what others are fetching has arrived and can make room.
_LOOK_S = 0.02


class FetchedShard(Protocol):
    """What a cache has to know of a shard: its name, for messages, its bytes, and its md5."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def md5(self) -> str: ...


class ShardCache:
    """Shards by their md5, in a folder that is shared with other processes. All methods may be called by any thread.

    Args:
        fetch: returns the content of a shard by its md5.
        folder: created if missing. Content that is not ours is left alone.
        limit: bytes that all shards in the folder have together, at most.
    """

    def __init__(self, fetch: Fetch, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._fetch_content = fetch
        self._noted: dict[str, float] = {}
        self._state = threading.Condition()
        self._positions: dict[str, int] = {}
        self._queue: deque[FetchedShard] = deque()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def read(self, shard: FetchedShard, offset: int, size: int) -> bytes:
        """Return bytes of a shard, which is fetched if it is not there.

        Raises:
            UserError: it cannot be fetched, has another size, or is larger than the cache may be.
            UnavailableError: the cache is full of shards that other tasks need.
        """
        for _ in range(_ATTEMPTS):
            descriptor = self._open(shard)
            try:
                content = os.pread(descriptor, size, offset)
            except OSError as error:
                raise cannot_read(error, self.path(shard)) from error
            finally:
                os.close(descriptor)
            if len(content) == size:
                return content
            # Somebody has cut the file in the cache.
            self.path(shard).unlink(missing_ok=True)
        raise UserError(f"shard {shard.name} has no {size:,} bytes at {offset:,}, which its index names: {REMEDY}")

    def renew(self, shard: FetchedShard) -> None:
        """Fetch a shard again that was found to be damaged, unless it is what its md5 says, and verify the new one.

        Raises:
            UserError: it is altered where it is stored, or cannot be fetched.
        """
        with self._explained():
            descriptor = self._fetch(shard, is_needed=True, is_damaged=True)
            assert descriptor is not None
            os.close(descriptor)

    def announce(self, shards: Sequence[FetchedShard]) -> None:
        """Say which shards will be read from now on, in this order, without repeats; what was said before is forgotten.

        They are fetched ahead as far as the limit allows, and those that come first are the last to make room.
        """
        with self._state:
            self._positions = {shard.md5: position for position, shard in enumerate(shards)}
            # Of what does not fit beside what comes before it, nothing is fetched: it would only take its place.
            sizes = accumulate(shard.size for shard in shards)
            self._queue = deque(shard for shard, size in zip(shards, sizes, strict=True) if size <= self.limit)
            while self._queue and len(self._threads) < _THREADS and not self._is_closed:
                # Daemons, so that a server that does not answer cannot keep a process from its end.
                thread = threading.Thread(target=self._fetch_ahead, name="nofrost-shards", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._state.notify_all()

    @contextmanager
    def pinned(self, shards: Sequence[FetchedShard], what: str, fetched: Callable[[], object]) -> Iterator[None]:
        """Fetch shards that are not there, and keep all of them in the folder during the block.

        Args:
            what: name of what the shards belong to, for the error.
            fetched: called for each shard that is there.

        Raises:
            UserError: they do not fit into the folder, or one cannot be fetched.
        """
        needed = sum({shard.md5: shard.size for shard in shards}.values())
        if needed > self.limit:
            raise UserError(
                f"{what} has {needed:,} bytes and the cache {self.folder} may have {self.limit:,}: raise "
                f"{SIZE_VARIABLE}, or train with --data stream"
            )
        with ExitStack() as stack:
            with self._explained():
                stack.enter_context(pins(self.folder, [shard.md5 for shard in shards], self._space()))
            self.announce(shards)
            for shard in shards:
                os.close(self._open(shard))
                fetched()
            yield

    def path(self, shard: FetchedShard) -> Path:
        """Return where a shard lies once it is fetched."""
        return self.folder / shard.md5

    def close(self) -> None:
        """Stop fetching ahead; what is there stays."""
        with self._state:
            self._is_closed = True
            self._positions, self._queue = {}, deque()
            self._state.notify_all()

    def _open(self, shard: FetchedShard) -> int:
        """Return the descriptor of a shard, which stays readable whatever becomes of the file."""
        path = self.path(shard)
        with self._explained():
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                fetched = self._fetch(shard, is_needed=True)
                assert fetched is not None
                return fetched
            now = time.monotonic()
            if now - self._noted.get(shard.md5, -_NOTE_S) >= _NOTE_S:
                self._noted[shard.md5] = now
                # Another user's file can be read all the same.
                with suppress(PermissionError):
                    os.utime(descriptor)
            return descriptor

    def _fetch(self, shard: FetchedShard, *, is_needed: bool, is_damaged: bool = False) -> int | None:
        """Return the descriptor of a shard after fetching it; None if there is no room and it is not needed yet."""
        path = self.path(shard)
        unfinished = work_path(path, "tmp")
        make_folder(self.folder)
        with folder_lock(path, wait=True, quiet=True):
            with suppress(FileNotFoundError):
                # Another process or thread was faster.
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                if not is_damaged or _md5_of(descriptor) == shard.md5:
                    return descriptor
                os.close(descriptor)
                path.unlink(missing_ok=True)
            if not self._reserve(shard, unfinished, is_needed=is_needed):
                return None
            try:
                self._download(shard, unfinished, is_verified=is_damaged)
                with self._space():
                    unfinished.replace(path)
                    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    def _download(self, shard: FetchedShard, path: Path, *, is_verified: bool) -> None:
        for _ in range(_ATTEMPTS):
            digest, size = hashlib.md5(usedforsecurity=False), 0
            with path.open("r+b") as file:
                for chunk in self._fetch_content(shard.md5):
                    size += len(chunk)
                    if size > shard.size:
                        break
                    if is_verified:
                        digest.update(chunk)
                    file.write(chunk)
            if size == shard.size and (not is_verified or digest.hexdigest() == shard.md5):
                return
        raise UserError(
            f"shard {shard.name} (object {shard.md5}) is altered or cut off where it is stored: delete it there, then "
            "push the data again"
        )

    def _reserve(self, shard: FetchedShard, unfinished: Path, *, is_needed: bool) -> bool:
        """Make an empty file of the shard's size, after deleting others if there is no room; return whether there is.

        A shard that is needed waits until what others are fetching has arrived, if that can make room then.

        Raises:
            UserError: the shard is larger than the cache may be.
            UnavailableError: there will be no room, and the shard is needed.
        """
        if shard.size > self.limit:
            raise UserError(
                f"shard {shard.name} has {shard.size:,} bytes and the cache {self.folder} may have {self.limit:,}: "
                f"raise {SIZE_VARIABLE}"
            )
        while True:
            with self._space():
                unfinished.unlink(missing_ok=True)
                contents = contents_of(self.folder)
                excess = contents.size + shard.size - self.limit
                chosen = []
                for entry in self._replaceable(contents, shard, is_needed=is_needed):
                    if excess <= 0:
                        break
                    chosen.append(entry)
                    excess -= entry.size
                if excess <= 0:
                    for entry in chosen:
                        (self.folder / entry.md5).unlink(missing_ok=True)
                    with unfinished.open("xb") as file:
                        file.truncate(shard.size)
                    return True
            if not is_needed:
                return False
            if excess > sum(size for md5, size in contents.fetching.items() if md5 not in contents.pinned):
                raise UnavailableError(
                    f"the cache {self.folder} may have {self.limit:,} bytes, and all are in use by other tasks: raise "
                    f"{SIZE_VARIABLE}, or wait for them"
                )
            # Those that are fetched have their room, and whoever fetches them waits for nobody: no circle can form.
            time.sleep(_LOOK_S)

    def _replaceable(self, contents: CacheContents, shard: FetchedShard, *, is_needed: bool) -> list[CachedShard]:
        """Return the shards that may make room for another, in this order."""
        with self._state:
            positions = self._positions
        free = [entry for entry in contents.shards if entry.md5 not in contents.pinned]
        unannounced = sorted((entry for entry in free if entry.md5 not in positions), key=lambda entry: entry.used)
        # What comes last is given up first.
        announced = sorted((entry for entry in free if entry.md5 in positions), key=lambda entry: -positions[entry.md5])
        if not is_needed:
            position = positions.get(shard.md5, -1)
            announced = [entry for entry in announced if positions[entry.md5] > position]
        return unannounced + announced

    def _space(self) -> AbstractContextManager[None]:
        """Return the lock in which files come into the folder or leave it."""
        return folder_lock(self.folder / "space", wait=True, quiet=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(error, self.folder) from error

    def _fetch_ahead(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed:
                    return
                queue = self._queue
                shard = queue.popleft()
            try:
                if self.path(shard).exists() or _is_fetched(self.path(shard)):
                    continue
                descriptor = self._fetch(shard, is_needed=False)
            except (UserError, OSError):
                # Who reads it tries again, and meets the error.
                descriptor = None
            if descriptor is None:
                # There is room again when something else is announced.
                with self._state:
                    queue.clear()
            else:
                os.close(descriptor)


def _is_fetched(path: Path) -> bool:
    """Return whether another process or thread is fetching a shard."""
    try:
        return is_written(path)
    except LocksUnknownError:
        return False


def _md5_of(descriptor: int) -> str:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
