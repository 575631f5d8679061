"""Long work: how much of it is done, and what it has measured so far."""

from __future__ import annotations

import time

from nofrost.telemetry.metrics.exposition import measure, still_working
from nofrost.telemetry.metrics.table import STAGE_PROGRESS


class Progress:
    """The progress of `total` units of work, of which `initial` were finished by an earlier run; it shows nothing.

    Attributes:
        done: finished units, with those of the earlier run.
        figures: what the work has measured so far, such as its loss, by name; replaced as a whole, so that another
            thread may read it at any time.
    """

    def __init__(self, total: int, initial: int = 0) -> None:
        self.total, self.initial, self.done = total, initial, initial
        self.started = time.monotonic()
        self.figures: dict[str, float] = {}

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done, with a short `note` such as the current epoch."""
        self.done += units
        still_working()
        measure(STAGE_PROGRESS, self.done / max(1, self.total))
        self._show(units, note)

    def measured(self, **figures: float) -> None:
        """State what the work has measured; a figure of the same name is replaced."""
        self.figures = self.figures | figures

    def remaining_s(self) -> float | None:
        """Return the estimate of the seconds left; None while nothing is done that tells the speed."""
        # The units of an earlier run do not count for the speed of this one.
        rate = (self.done - self.initial) / max(time.monotonic() - self.started, 1e-9)
        return max(0, self.total - self.done) / rate if rate else None

    def _show(self, units: int, note: str) -> None:
        """Show that `units` more are done; nothing by default."""
