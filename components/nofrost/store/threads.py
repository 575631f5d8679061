"""The same work for many items, in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
_PATIENCE_S = 2.0  # for threads to end their current item after an error; then they are left behind


def for_each(work: Callable[[T], object], items: Collection[T], *, jobs: int, done: Callable[[T], object]) -> None:
    """Call `work` for each item in `jobs` threads, and `done` in this thread for each that is finished.

    The first error ends the work and is raised. So does a KeyboardInterrupt in this thread, at once: the threads are
    daemons, unlike those of concurrent.futures, which a process waits for at its end.
    """
    waiting: SimpleQueue[T] = SimpleQueue()
    for item in items:
        waiting.put(item)
    ended: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                item = waiting.get_nowait()
            except Empty:
                return
            try:
                work(item)
            except BaseException as error:
                ended.put((item, error))
            else:
                ended.put((item, None))

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
            thread.join(_PATIENCE_S / len(threads))
