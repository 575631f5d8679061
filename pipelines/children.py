"""The processes and containers of a local run, which end with it: when it is stopped, interrupted, or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from nofrost.errors import StoppedError
from pipelines import watchdog


class Children:
    """What a run has started. Handlers of signals may interrupt the main thread anywhere; others run tasks as well.

    The first SIGINT or SIGTERM asks the tasks to save and end, and says so; the next one ends them at once. No task
    begins after that, but a closing one, which records how the run ended: only a second signal prevents or ends it.

    Args:
        say: prints a line.
        secrets: files that are deleted when the run has ended, also by `kill -9`.
    """

    def __init__(self, say: Callable[[str], None], secrets: Sequence[Path] = ()) -> None:
        self._say, self._secrets = say, secrets
        self._tasks: dict[tuple[str, str], str] = {}
        self._closing: set[tuple[str, str]] = set()
        self._signal: int | None = None
        self._is_hurried = False
        self._telling = threading.Lock()

    def __enter__(self) -> Self:
        command = [sys.executable, watchdog.__file__, *map(str, self._secrets)]
        null = subprocess.DEVNULL
        self._watchdog = subprocess.Popen(
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
            assert self._watchdog.stdin
            self._watchdog.stdin.close()
        self._watchdog.wait()

    @property
    def stopped(self) -> bool:
        """Whether a signal has arrived."""
        return self._signal is not None

    def may_begin(self, *, closing: bool = False) -> bool:
        """Return whether a task may still begin."""
        return not (self._is_hurried if closing else self.stopped)

    def raise_if_stopped(self) -> None:
        """Raise what a signal has asked for: KeyboardInterrupt or StoppedError."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is not None:
            raise StoppedError("stopped: the same command continues with the tasks that had not finished")

    def run(
        self, title: str, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str], closing: bool = False
    ) -> int:
        """Run a command in a process group of its own, whose output goes to a log; return its exit code."""
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )
        with self._living(title, ("group", str(process.pid)), closing):
            code = process.wait()
            # A shell ends at once, and what it runs may still be saving.
            end = time.monotonic() + (watchdog.SAVE_GRACE_S if self.stopped else 0)
            while watchdog.has_living(process.pid):
                if time.monotonic() >= end:
                    watchdog.send("group", str(process.pid), signal.SIGKILL)
                    break
                time.sleep(0.05)
        return code

    def container(self, title: str, identifier: str, closing: bool = False) -> AbstractContextManager[None]:
        """Return a context in which a container that has been created belongs to the run."""
        return self._living(title, ("container", identifier), closing)

    def end(self, titles: Collection[str]) -> None:
        """Ask the tasks with these titles to save and end, and end them when they have had the time for that."""
        tasks = [task for task, title in list(self._tasks.items()) if title in titles]
        self._send(signal.SIGTERM, tasks)
        self._later(lambda: self._send(signal.SIGKILL, [task for task in tasks if task in self._tasks]))

    @contextmanager
    def _living(self, title: str, task: tuple[str, str], closing: bool) -> Iterator[None]:
        self._tasks[task] = title
        if closing:
            self._closing.add(task)
        self._tell(f"+ {' '.join(task)}")
        # A signal may have arrived after the task had begun and before it was noted.
        if not self.may_begin(closing=closing):
            watchdog.send(*task, signal.SIGTERM)
        try:
            yield
        finally:
            del self._tasks[task]
            self._closing.discard(task)
            self._tell(f"- {' '.join(task)}")

    def _tell(self, line: str) -> None:
        with suppress(OSError), self._telling:
            assert self._watchdog.stdin
            print(line, file=self._watchdog.stdin, flush=True)

    def _stop(self, number: int, _: object) -> None:
        if self.stopped:
            self._is_hurried = True
            self._send(signal.SIGKILL, list(self._tasks))
            return
        self._signal = number
        self._send_to_others(signal.SIGTERM)
        self._later(lambda: self._send_to_others(signal.SIGKILL))
        how, again = ("interrupted", "Ctrl-C") if number == signal.SIGINT else ("stopped", "SIGTERM")
        titles = ", ".join(sorted(self._tasks.values())) or "the run"
        # The main thread may have been printing when the signal came, and no stream is printed to twice at once.
        with suppress(RuntimeError):
            self._say(f"{how}: waiting for {titles} to save and end; {again} again ends at once")

    def _later(self, act: Callable[[], None]) -> None:
        timer = threading.Timer(watchdog.SAVE_GRACE_S, act)
        timer.daemon = True
        timer.start()

    def _send_to_others(self, number: signal.Signals) -> None:
        self._send(number, [task for task in list(self._tasks) if task not in self._closing])

    def _send(self, number: signal.Signals, tasks: Sequence[tuple[str, str]]) -> None:
        for kind, identifier in tasks:
            watchdog.send(kind, identifier, number)
