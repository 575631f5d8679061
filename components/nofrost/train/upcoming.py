"""What an epoch still reads of shards that come through a cache, which is told so that it fetches them in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nofrost.data import Images
from nofrost.data.manifest import ShardManifest
from nofrost.data.order import Rows
from nofrost.data.photographs import Photographs
from nofrost.data.shards.cached import CachedFiles
from nofrost.data_cache import SIZE_VARIABLE
from nofrost.errors import UserError


@dataclass(frozen=True)
class _Use:
    """A shard with the first and the last position in the order of an epoch at which it is read."""

    shard: ShardManifest
    first: int
    last: int


class Upcoming:
    """The shards of some row-aligned sets that an epoch still reads, in the order in which it comes to them.

    Args:
        sets: arrays, and photographs in the folder of their dataset, need nothing.
        order: rows of the epoch.
        following: the first rows of the next epoch, whose shards are fetched towards the end of this one.
    """

    def __init__(self, sets: Iterable[Images], order: Rows, following: Rows) -> None:
        cached = _cached(sets)
        self._cache = cached[0][1].cache if cached else None
        uses = [use for images, files in cached for use in _uses(images, files, order)]
        self._uses = sorted(uses, key=lambda use: use.first)
        later = [use for images, files in cached for use in _uses(images, files, following)]
        self._later = [use.shard for use in sorted(later, key=lambda use: use.first)]
        self._next_change = 0

    def at(self, position: int) -> None:
        """Say that rows before this position of the order are read no more."""
        if self._cache is None or position < self._next_change:
            return
        self._uses = [use for use in self._uses if use.last >= position]
        self._next_change = min((use.last for use in self._uses), default=position) + 1
        shards = [use.shard for use in self._uses] + self._later
        self._cache.announce(list({shard.md5: shard for shard in shards}.values()))


def check_room(sets: Iterable[Images], window: int) -> None:
    """Check that the cache holds two windows of all sets: one that is read, and one that is fetched meanwhile.

    Raises:
        UserError: it does not, and would fetch the same shards again and again.
    """
    cached = _cached(sets)
    sizes = [sorted((shard.size for shard in files.shards), reverse=True) for _, files in cached]
    needed = sum(sum(each[: 2 * window]) for each in sizes)
    if cached and needed > (cache := cached[0][1].cache).limit:
        raise UserError(
            f"two windows of {window} shards of every set of images have up to {needed:,} bytes, and the cache "
            f"{cache.folder} may have {cache.limit:,}: raise {SIZE_VARIABLE}, or train with a smaller --window"
        )


def _cached(sets: Iterable[Images]) -> list[tuple[Photographs, CachedFiles]]:
    return [
        (images, images.files)
        for images in sets
        if isinstance(images, Photographs) and isinstance(images.files, CachedFiles)
    ]


def _uses(images: Photographs, files: CachedFiles, order: Rows) -> list[_Use]:
    numbers = images.index["shard"][order]
    shards, first = np.unique(numbers, return_index=True)
    last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
    return [
        _Use(files.shards[shard], begin, end)
        for shard, begin, end in zip(shards.tolist(), first.tolist(), last.tolist(), strict=True)
    ]
