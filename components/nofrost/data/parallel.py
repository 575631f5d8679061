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


def threaded_map(
    function: Callable[..., T], items: Iterable[object], most_ahead: int | None = None, together: int = 1
) -> Iterator[T]:
    """Yield function(item) for each item in order, computed by a few threads that never run far ahead.

    Args:
        most_ahead: how many of what threads take may wait, such as large images; None leaves it to their number.
        together: how many items a thread takes at a time; more than one where handing an item over takes a good part of
            the time that it needs, such as the decoding of a thumbnail.

    An exception of `function` is raised at its item, or at the first of those taken together with it; items that have
    not been started are then dropped.
    """
    threads = cores()
    most = max(2 * threads, 4 * threads // together)
    ahead = min(most, most_ahead or most)
    remaining = iter(items)

    def results(some: list[object]) -> list[T]:
        return [function(item) for item in some]

    def submit(count: int) -> Iterator[Future[list[T]]]:
        for _ in range(count):
            if some := list(islice(remaining, together)):
                yield pool.submit(results, some)

    with ThreadPoolExecutor(threads) as pool:
        window = deque(submit(ahead))
        try:
            while window:
                yield from window.popleft().result()
                window.extend(submit(1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
