"""Unfinished work of a task, kept in the store: a pod that is killed and tried again goes on from there."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.store import Ref, Store, pull, push

INTERVAL_S = 300.0


@contextmanager
def checkpointed_in_store(out: Path, depends_on: Sequence[str], store: Store) -> Iterator[None]:
    """Around a resumable stage that makes `out`: bring back what an earlier try left, and keep what this one leaves.

    The partial output (``<out>.partial``) is pushed every five minutes, and at once when the stage fails or is
    stopped. Only what changed travels. Nothing that goes wrong here makes the stage fail: the worst is work done twice.

    Args:
        depends_on: what the output depends on, as text; work of another configuration is never taken over.
    """
    key = hashlib.sha256(json.dumps([out.name, *depends_on]).encode()).hexdigest()
    unfinished = _Unfinished(out.with_name(f"{out.name}.partial"), f"nofrost/unfinished/{key}", store)
    unfinished.bring_back()
    stop = threading.Event()
    keeper = threading.Thread(target=unfinished.keep_until, args=(stop,), daemon=True)
    keeper.start()
    try:
        yield
    except BaseException:
        stop.set()
        keeper.join()
        unfinished.keep()
        raise
    stop.set()
    keeper.join()


class _Unfinished:
    def __init__(self, partial: Path, name: str, store: Store) -> None:
        self._partial, self._name, self._store = partial, name, store

    def bring_back(self) -> None:
        with suppress(UserError):  # nothing was kept, or a garbage collection of the store took it
            pull(Ref.parse(self._store.get(self._name).decode()), self._partial, self._store)

    def keep_until(self, stop: threading.Event) -> None:
        while not stop.wait(INTERVAL_S):
            self.keep()

    def keep(self) -> None:
        """Push a copy of the partial output in which no file is from another moment than the rest."""
        copy = self._partial.with_name(f"{self._partial.name}.kept")
        with suppress(OSError, UserError):  # no partial output yet, a file went while it was copied, no connection
            before = _state(self._partial)
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self._partial, copy)
            if _state(self._partial) == before:
                self._store.put(self._name, str(push(copy, self._store)).encode())
        shutil.rmtree(copy, ignore_errors=True)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
