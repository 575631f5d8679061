"""Progress of long work on standard error: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nofrost.errors import printable, say

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_INTERVAL_S = 15.0


class Progress(Protocol):
    """The interface by which work reports its progress, with a short `note` such as the current loss."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done."""


@contextmanager
def progress(title: str, total: int, done: int = 0, *, least_s: float = 0.0) -> Iterator[Progress]:
    """Show the progress of `total` units of work, of which `done` were finished by an earlier run.

    On a terminal that can move its cursor it is a bar with the time left. Elsewhere it is a plain line at most every 15
    seconds and one at the end, unless the work took less than `least_s` seconds.
    """
    if _moves_the_cursor():
        # Imported here, so that commands without a bar start faster.
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=printable(title), file=sys.stderr, dynamic_ncols=True) as bar:
            yield _Bar(bar)
        return
    now = time.monotonic()
    lines = _Lines(title, total, done, initial=done, started=now, printed=now)
    yield lines
    lines.close(least_s)


def _moves_the_cursor() -> bool:
    """Whether standard error is a terminal on which a line can be written again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


@dataclass
class _Bar:
    bar: tqdm[None]

    def advance(self, units: int = 1, note: str = "") -> None:
        if note:
            self.bar.set_postfix_str(printable(note), refresh=False)
        self.bar.update(units)


@dataclass
class _Lines:
    title: str
    total: int
    done: int
    initial: int
    started: float
    printed: float
    note: str = ""

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units
        self.note = note or self.note
        now = time.monotonic()
        if now - self.printed >= LINE_INTERVAL_S:
            self.printed = now
            # The units of an earlier run do not count for the speed of this one.
            rate = (self.done - self.initial) / (now - self.started)
            remaining = f", {max(0, self.total - self.done) / rate:.0f} s left" if rate else ""
            self._print(f"{self.done}/{self.total}{remaining}")

    def close(self, least_s: float) -> None:
        seconds = time.monotonic() - self.started
        if seconds >= least_s:
            self._print(f"done in {seconds:.1f} s")

    def _print(self, text: str) -> None:
        note = f" ({self.note})" if self.note else ""
        say(f"{self.title}: {text}{note}")
