"""The display of long work on standard error: a bar on a terminal, an event now and then in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from nofrost.errors import printable, say
from nofrost.telemetry import log
from nofrost.telemetry.work import Progress

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_INTERVAL_S = 15.0


@contextmanager
def progress(
    title: str, total: int, done: int = 0, *, least_s: float = 0.0, post_status: bool = False
) -> Iterator[Progress]:
    """Show the progress of `total` units of work, of which `done` were finished by an earlier run.

    On a terminal that can move its cursor it is a bar with the time left. Elsewhere, and in a structured log, it is a
    line at most every 15 seconds and one at the end, unless the work took less than `least_s` seconds.

    Args:
        post_status: whether this is what the process was started for, so that its progress is that of the job:
            :mod:`nofrost.telemetry.trainjob_status` posts it where a training operator asks for it.
    """
    with _shown(title, total, done, least_s) as work, _posted(work) if post_status else nullcontext():
        yield work


@contextmanager
def _shown(title: str, total: int, done: int, least_s: float) -> Iterator[Progress]:
    if _moves_the_cursor() and not log.is_structured():
        # Imported here, so that commands without a bar start faster.
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=printable(title), file=sys.stderr, dynamic_ncols=True) as bar:
            yield _Bar(bar, total, done)
        return
    lines = _Lines(title, total, done)
    yield lines
    lines.close(least_s)


@contextmanager
def _posted(work: Progress) -> Iterator[None]:
    # Imported here, as it needs an HTTP client.
    from nofrost.telemetry.trainjob_status import posted

    with posted(work):
        yield


def _moves_the_cursor() -> bool:
    """Whether standard error is a terminal on which a line can be written again."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


class _Bar(Progress):
    def __init__(self, bar: tqdm[None], total: int, initial: int) -> None:
        super().__init__(total, initial)
        self.bar = bar

    def _show(self, units: int, note: str) -> None:
        if note:
            self.bar.set_postfix_str(printable(note), refresh=False)
        self.bar.update(units)


class _Lines(Progress):
    def __init__(self, title: str, total: int, initial: int) -> None:
        super().__init__(total, initial)
        self.title, self.printed, self.note = title, self.started, ""

    def _show(self, units: int, note: str) -> None:
        self.note = note or self.note
        now = time.monotonic()
        if now - self.printed >= LINE_INTERVAL_S:
            self.printed = now
            left = self.remaining_s()
            text = f"{self.done}/{self.total}" + ("" if left is None else f", {left:.0f} s left")
            self._print("progress", text, remaining_s=None if left is None else round(left))

    def close(self, least_s: float) -> None:
        seconds = time.monotonic() - self.started
        if seconds >= least_s:
            self._print("done", f"done in {seconds:.1f} s", seconds=round(seconds, 3))

    def _print(self, event: str, text: str, **values: object) -> None:
        note = f" ({self.note})" if self.note else ""
        line = f"{self.title}: {text}{note}"
        if not log.is_structured():
            say(line)
            return
        work = {"work": self.title, "done": self.done, "total": self.total}
        log.event(event, line, **work, **values, figures=self.figures)
