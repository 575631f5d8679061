"""For how long a job has worked, and waited for its nodes: compared with its limits, and noted for later launchers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.launcher.job_ends import JobEndedError
from nofrost.cluster.launcher.signs import signs, worked_s
from nofrost.cluster.launcher.state import JobPhase, condition, is_suspended, passed_s
from nofrost.cluster.launcher.time_limits import Limits, Since


class JobTimes:
    """The times of a job that is followed.

    Args:
        job: as the server has it; one that is adopted has worked, or waited, for other launchers before.
        now: by the clock of the server.

    Attributes:
        has_run: whether all nodes have run, since the job was in a queue last.
    """

    def __init__(self, job: Mapping[str, Any], limits: Limits, now: datetime) -> None:
        self._limits = limits
        self._looked, self._worked_s = time.monotonic(), worked_s(job, now)
        self.has_run = self._worked_s > 0
        self._waiting = Since()
        self._waiting.begin(_waited_s(job, now, has_run=self.has_run))
        # One without a status has just been made.
        self._signed = -math.inf if job.get("status") else self._looked

    def add(self, phase: JobPhase, *, is_known: bool) -> None:
        """Count the time since the last call: as work, or as waiting for nodes.

        Args:
            is_known: whether the phase is that of this moment. What is unknown counts as what was before.
        """
        now = time.monotonic()
        passed_s, self._looked = now - self._looked, now
        if phase is JobPhase.RUNNING:
            if not self.has_run:
                self._signed = -math.inf
            self.has_run = True
            self._waiting.clear()
        elif is_known:
            self._waiting.begin()
        if phase is JobPhase.QUEUED:
            self.has_run = False
        if not self._waiting.is_so:
            self._worked_s += passed_s

    def check(self, what: str, nodes: int, state: str) -> None:
        """Compare the times with the deadline and the time-out of the queue.

        Args:
            what: kind and name of the job.
            state: of the job, in words.

        Raises:
            JobEndedError: one is over.
        """
        limits = self._limits
        if self._worked_s > limits.deadline_s:
            raise JobEndedError(
                f"{what} has not ended in {limits.deadline_s:.0f} s, its deadline: raise deadline_s of the training "
                "job, and submit again to continue from what it has saved"
            )
        if self._waiting.for_s > limits.queue_timeout_s:
            raise JobEndedError(
                f"{what} does not run on {nodes} nodes after {limits.queue_timeout_s:.0f} s ({state}): submit again "
                "when there is room, or raise queue_timeout_s of the training job"
            )

    def sign(self, api: KubernetesApi, path: str, uid: str) -> None:
        """Note at the job, once in a while, that it is followed, and how long it has worked."""
        if time.monotonic() - self._signed < self._limits.sign_s:
            return
        self._signed = time.monotonic()
        change = {"uid": uid, "annotations": signs(self._worked_s, api.now(), has_run=self.has_run)}
        # A later launcher can do without.
        with suppress(KubernetesError):
            api.request("PATCH", path, content={"metadata": change})


def _waited_s(job: Mapping[str, Any], now: datetime, *, has_run: bool) -> float:
    """Return for how many seconds a job has waited for its nodes, as far as it shows that itself."""
    suspended = condition(job, "Suspended")
    if suspended and is_suspended(job):
        return passed_s(suspended.get("lastTransitionTime"), now)
    # Of one that has run, no one knows since when it does not.
    return 0.0 if has_run else passed_s(job["metadata"].get("creationTimestamp"), now)
