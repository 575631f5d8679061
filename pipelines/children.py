"""The processes and containers of a local run, which end with it: when it is stopped, interrupted, or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, Self

from nofrost.errors import StoppedError
from pipelines import reaper


class Children:
    """What a run has started. Several threads may use it at once.

    The first SIGINT or SIGTERM asks the tasks to save and end, and says so; the next one ends them at once. No task
    begins after that.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        # The handler of a signal runs in the main thread, which may be in here already.
        self._lock = threading.RLock()
        self._tasks: dict[tuple[str, str], str] = {}
        self._signal: int | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, reaper.__file__]
        null = subprocess.DEVNULL
        self._reaper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, text=True, start_new_session=True
        )
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        with suppress(OSError):
            assert self._reaper.stdin
            self._reaper.stdin.close()
        self._reaper.wait()

    @property
    def stopped(self) -> bool:
        """Whether no task may begin any more."""
        return self._signal is not None

    def raise_if_stopped(self) -> None:
        """Raise what a signal has asked for: KeyboardInterrupt or StoppedError."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is not None:
            raise StoppedError("stopped: the same command continues with the tasks that had not finished")

    def run(self, title: str, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]) -> int:
        """Run a command in a process group of its own, whose output goes to a log; return its exit code."""
        with self._lock:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
            )
            started = self._started("group", str(process.pid), title)
        with started:
            code = process.wait()
            # A shell ends at once, and what it runs may still be saving.
            end = time.monotonic() + (reaper.GRACE_S if self.stopped else 0)
            while reaper.has_living(process.pid):
                if time.monotonic() >= end:
                    reaper.send("group", str(process.pid), signal.SIGKILL)
                    break
                time.sleep(0.05)
        return code

    def container(self, title: str, identifier: str) -> AbstractContextManager[None]:
        """Return a context in which a container that has been created belongs to the run."""
        with self._lock:
            return self._started("container", identifier, title)

    def _started(self, kind: str, identifier: str, title: str) -> AbstractContextManager[None]:
        self._tasks[kind, identifier] = title
        self._tell(f"+ {kind} {identifier}")
        if self.stopped:
            reaper.send(kind, identifier, signal.SIGTERM)
        return self._until_its_end(kind, identifier)

    @contextmanager
    def _until_its_end(self, kind: str, identifier: str) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                del self._tasks[kind, identifier]
                self._tell(f"- {kind} {identifier}")

    def _tell(self, line: str) -> None:
        with suppress(OSError):
            assert self._reaper.stdin
            print(line, file=self._reaper.stdin, flush=True)

    def _stop(self, number: int, _: object) -> None:
        with self._lock:
            is_first, self._signal = not self.stopped, self._signal or number
            titles = ", ".join(sorted(self._tasks.values())) or "the run"
        self._send(signal.SIGTERM if is_first else signal.SIGKILL)
        if is_first:
            how, again = ("interrupted", "Ctrl-C") if number == signal.SIGINT else ("stopped", "SIGTERM")
            timer = threading.Timer(reaper.GRACE_S, self._send, [signal.SIGKILL])
            timer.daemon = True
            timer.start()
            # The main thread may have been printing when the signal came, and no stream is printed to twice at once.
            with suppress(RuntimeError):
                self._say(f"{how}: waiting for {titles} to save and end; {again} again ends at once")

    def _send(self, number: signal.Signals) -> None:
        for kind, identifier in list(self._tasks):
            reaper.send(kind, identifier, number)
