"""Threads that decode photographs, as many as a training needs."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from nofrost.data.parallel import cores
from nofrost.ranks import process_rank

T = TypeVar("T")

# The share of its time that a training may wait for batches before another thread decodes.
TOLERATED_WAIT = 0.02


class DecodingThreads:
    """Threads that decode, as many as a training needs: one at first, and another when it waits for its batches.

    Attributes:
        count: of the threads that decode at once.
        most: a core for each, of those that the processes of this machine share.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most or max(1, cores() // process_rank().local_size)
        self.count = 1
        self._permits = threading.Semaphore(1)
        self._pool = ThreadPoolExecutor(self.most, "nofrost-decoding")
        self._last = math.inf

    def run(self, function: Callable[[int], None], count: int) -> None:
        """Call function(0), ..., function(count - 1) in the threads; raise the exception of one if there are any."""
        numbers = iter(range(count))

        def work() -> None:
            # Whoever is free takes the next one: to hand over each by itself would take a good part of its time.
            for number in numbers:
                with self._permits:
                    function(number)

        for future in [self._pool.submit(work) for _ in range(min(self.most, count))]:
            future.result()

    def begin(self) -> None:
        """Begin an epoch, for whose first batch the training has to wait in any case."""
        self._last = math.inf

    def awaited(self, batch: Future[T]) -> T:
        """Return the batch that the training asks for now; where it waits for long, another thread will decode."""
        asked = time.monotonic()
        result = batch.result()
        now = time.monotonic()
        if now - asked > TOLERATED_WAIT * (now - self._last) > 0 and self.count < self.most:
            self.count += 1
            self._permits.release()
        self._last = now
        return result
