"""Call a function for many items in threads."""

import threading
from collections.abc import Callable, Collection
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
# Seconds to wait after an error for threads to finish their current items.
_JOIN_TIMEOUT_S = 2.0
# Seconds after which a wait for the next result begins anew. A signal that arrives just before a wait without a limit
# begins is not handled until that wait ends.
_WAIT_S = 1.0


def for_each(work: Callable[[T], object], items: Collection[T], *, jobs: int, done: Callable[[T], object]) -> None:
    """Call `work` for each item in `jobs` threads, and `done` in this thread for each item that is finished.

    The first error stops the threads and is raised, and so is a KeyboardInterrupt or a SIGTERM that raises here.
    """
    queue: SimpleQueue[T] = SimpleQueue()
    for item in items:
        queue.put(item)
    results: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                item = queue.get_nowait()
            except Empty:
                return
            try:
                work(item)
                results.put((item, None))
            except BaseException as error:
                results.put((item, error))

    # Daemon threads, and not concurrent.futures: at its end a process waits for the threads of an executor, for minutes
    # if a server does not answer, and neither Ctrl-C nor the SIGTERM of a pod would end it.
    threads = [threading.Thread(target=run, name="store", daemon=True) for _ in range(min(jobs, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            item, error = _next(results)
            if error is not None:
                raise error
            done(item)
    finally:
        stop.set()
        for thread in threads:
            thread.join(_JOIN_TIMEOUT_S / len(threads))


def _next(results: SimpleQueue[T]) -> T:
    while True:
        try:
            return results.get(timeout=_WAIT_S)
        except Empty:
            continue
