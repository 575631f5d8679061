"""Threads for work that releases Python's lock, such as decoding."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
_MOST_THREADS = 32


def cores() -> int:
    """Return how many cores this process may use, at most 32."""
    return min(_MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def threaded_map(function: Callable[..., T], items: Iterable[object], most_ahead: int | None = None) -> Iterator[T]:
    """Yield function(item) for each item in order, computed by a few threads that never run far ahead.

    Args:
        most_ahead: how many results may wait, such as large images; None leaves it to the number of threads.

    An exception of `function` is raised at its item; items that have not been started are then dropped.
    """
    threads = cores()
    ahead = min(4 * threads, most_ahead or 4 * threads)
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        window: deque[Future[T]] = deque(pool.submit(function, item) for item in islice(remaining, ahead))
        try:
            while window:
                yield window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(remaining, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
