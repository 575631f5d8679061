"""Shards that are not in the folder of their dataset, but come through a cache when they are needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from nofrost.data.manifest import ShardManifest
from nofrost.data.shards.access import LocalFiles, ShardFiles
from nofrost.data.shards.shard_cache import ShardCache

_CACHE: ContextVar[ShardCache | None] = ContextVar("cache of shards", default=None)


class CachedFiles:
    """The shards of a split or augmentation set, read through a cache that fetches them.

    Attributes:
        shards: in the order of their numbers in the index.
        cache: of all splits and sets.
    """

    def __init__(self, shards: Sequence[ShardManifest], cache: ShardCache) -> None:
        self.shards, self.cache = tuple(shards), cache

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes of a shard from `offset` on.

        Raises:
            UserError: it cannot be fetched, or is cut off or altered.
        """
        return self.cache.read(self.shards[shard], offset, size)

    def renew(self, shard: int) -> bool:
        """Fetch a shard again in which a record is damaged, and return True.

        Raises:
            UserError: it is altered where it is stored, or cannot be fetched.
        """
        self.cache.renew(self.shards[shard])
        return True

    def place(self, shard: int) -> str:
        """Return the name of a shard and its path in the cache."""
        return f"{self.shards[shard].name} ({self.cache.path(self.shards[shard])})"

    def close(self) -> None:
        """Do nothing: a shard is open only while it is read."""


@contextmanager
def shards_from(cache: ShardCache) -> Iterator[None]:
    """Let splits and augmentation sets that are read in the block take from `cache` the shards their folders lack."""
    token = _CACHE.set(cache)
    try:
        yield
    finally:
        _CACHE.reset(token)
        cache.close()


def shard_files(folder: Path, shards: Sequence[ShardManifest]) -> ShardFiles:
    """Return access to the shards of a split or augmentation set in `folder`: to the files there, or to a cache.

    The cache is that of :func:`shards_from`, where at least one file is missing.
    """
    cache = _CACHE.get()
    if cache is None or all((folder / shard.name).exists() for shard in shards):
        return LocalFiles(folder, [shard.name for shard in shards])
    return CachedFiles(shards, cache)
