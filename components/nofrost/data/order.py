"""The order of training images in an epoch: a pure function of seed and epoch, for any number of processes."""

import numpy as np
from numpy.typing import NDArray

from nofrost.seeds import derive_seed

Rows = NDArray[np.int64]


def epoch_order(count: int, seed: int, epoch: int) -> Rows:
    """Return a permutation of `count` rows: int64 [count]."""
    order: Rows = _generator(seed, epoch).permutation(count)
    return order


def block_order(shard_of_row: NDArray[np.integer], seed: int, epoch: int, window: int) -> Rows:
    """Return all rows so that any stretch of them needs few shards: int64 [N].

    The shards are permuted and taken `window` at a time; the rows of these are permuted among themselves. Two windows
    at most lie in a batch that is smaller than a window.

    Args:
        shard_of_row: integers [N], the shard of each row, from 0.
        window: shards at a time; with all of them at once it is a permutation of the rows like any other.
    """
    generator = _generator(seed, epoch)
    shards = int(shard_of_row.max()) + 1 if len(shard_of_row) else 0
    window_of_shard = np.empty(shards, dtype=np.int64)
    window_of_shard[generator.permutation(shards)] = np.arange(shards) // window
    # sorted by window, and within it by a random number
    return np.lexsort((generator.random(len(shard_of_row)), window_of_shard[shard_of_row]))


def first_window(shard_of_row: NDArray[np.integer], order: Rows, window: int) -> Rows:
    """Return the rows of an order of :func:`block_order` that come before its second window: int64 [n]."""
    shards, first = np.unique(shard_of_row[order], return_index=True)
    return order if len(shards) <= window else order[: np.sort(first)[window]]


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "order", epoch))
