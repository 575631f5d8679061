"""How long a launcher waits for what, and how long something has been so."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a launch, in seconds.

    Attributes:
        deadline_s: for the work of the job: the time in which all of its nodes run.
        queue_timeout_s: until all nodes run, since the job was created or has lost one of them.
        interval_s: between two looks at the pods.
        start_s: for an image that cannot be pulled, or pods that cannot be made, before that ends the launch.
        operator_s: for a first sign of the operator.
        outage_s: for an API server that does not answer, or refuses what it has allowed before; or for the store.
        deletion_s: for the deletion of an earlier job of the same name.
        log_s: for the rest of the log, at the end.
        sign_s: between two signs at the job that it is followed.
    """

    deadline_s: float
    queue_timeout_s: float
    interval_s: float = 10.0
    start_s: float = 300.0
    operator_s: float = 900.0
    outage_s: float = 900.0
    deletion_s: float = 600.0
    log_s: float = 120.0
    sign_s: float = 3600.0


class Since:
    """Since when something is so: a stopwatch that begins once, and is cleared when it is so no more."""

    def __init__(self) -> None:
        self._began: float | None = None

    def begin(self, ago_s: float = 0.0) -> None:
        """Begin, some seconds ago, unless it has begun already."""
        if self._began is None:
            self._began = time.monotonic() - ago_s

    def clear(self) -> None:
        """Say that it is not so."""
        self._began = None

    @property
    def is_so(self) -> bool:
        """Whether it has begun."""
        return self._began is not None

    @property
    def for_s(self) -> float:
        """For how many seconds it has been so; 0 if it is not."""
        return 0.0 if self._began is None else time.monotonic() - self._began
