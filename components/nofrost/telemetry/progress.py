"""Progress of long work on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

LINE_INTERVAL_S = 15.0


class Progress(Protocol):
    """What work reports to: `advance` by so many units, with a short `note` such as the current loss."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Say that `units` more are done."""


@contextmanager
def progress(title: str, total: int, done: int = 0, *, least_s: float = 0.0) -> Iterator[Progress]:
    """Show the progress of `total` units of work, of which `done` were finished by an earlier run.

    On a terminal a bar with the time left; elsewhere a plain line at most every 15 seconds and one at the end, but none
    for work that took less than `least_s` seconds.
    """
    if not sys.stderr.isatty():
        now = time.monotonic()
        lines = _Lines(title, total, done, done_before=done, started=now, printed=now)
        yield lines
        lines.finish(least_s)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),  # a title such as train[sat, 0] is no markup
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    # What is printed meanwhile goes above the bar, but only from a terminal: a redirected standard output is a result.
    with Bars(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bars:
        task = bars.add_task(title, total=total, completed=done, note="")

        class Bar:
            def advance(self, units: int = 1, note: str = "") -> None:
                if note:
                    bars.update(task, advance=units, note=note)
                else:
                    bars.update(task, advance=units)

        yield Bar()


@dataclass
class _Lines:
    title: str
    total: int
    done: int
    done_before: int
    started: float
    printed: float
    note: str = ""

    def advance(self, units: int = 1, note: str = "") -> None:
        self.done += units
        self.note = note or self.note
        now = time.monotonic()
        if now - self.printed >= LINE_INTERVAL_S:
            self.printed = now
            rate = (self.done - self.done_before) / (now - self.started)
            left = f", {max(0, self.total - self.done) / rate:.0f} s left" if rate else ""
            self._print(f"{self.done}/{self.total}{left}")

    def finish(self, least_s: float) -> None:
        took = time.monotonic() - self.started
        if took >= least_s:
            self._print(f"done in {took:.1f} s")

    def _print(self, text: str) -> None:
        note = f" ({self.note})" if self.note else ""
        print(f"{self.title}: {text}{note}", file=sys.stderr, flush=True)
