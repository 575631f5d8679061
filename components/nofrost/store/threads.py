"""The same work for many items, in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
# How long threads may take to end their current item after an error. Then they are abandoned.
_JOIN_TIMEOUT_S = 2.0


def for_each(work: Callable[[T], object], items: Collection[T], *, jobs: int, done: Callable[[T], object]) -> None:
    """Call `work` for each item in `jobs` threads, and `done` in this thread for each that is finished.

    The first error ends the work and is raised. So does a KeyboardInterrupt in this thread, or a SIGTERM that raises.
    """
    queue: SimpleQueue[T] = SimpleQueue()
    for item in items:
        queue.put(item)
    ended: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                item = queue.get_nowait()
            except Empty:
                return
            try:
                work(item)
            except BaseException as error:
                ended.put((item, error))
            else:
                ended.put((item, None))

    # Daemons, unlike the threads of concurrent.futures: a process waits for those at its end, for minutes if a server
    # does not answer, and neither Ctrl-C nor the SIGTERM of a pod would end it.
    threads = [threading.Thread(target=run, name="store", daemon=True) for _ in range(min(jobs, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            item, error = ended.get()
            if error is not None:
                raise error
            done(item)
    finally:
        stop.set()
        for thread in threads:
            thread.join(_JOIN_TIMEOUT_S / len(threads))
