"""A job is followed to its end: what becomes of it is said, and what takes too long ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.identity import run_of
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.job_ends import JobEndedError, OutOfReachError, WrongInputError
from nofrost.cluster.launcher.job_times import JobTimes
from nofrost.cluster.launcher.rank_log import tail
from nofrost.cluster.launcher.reasons import gang_reason, queue_reason
from nofrost.cluster.launcher.start_checks import StartChecks
from nofrost.cluster.launcher.state import (
    JobPhase,
    JobState,
    condition,
    exit_codes,
    is_suspended,
    job_state,
    rank_zero,
    time_of,
)
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.launcher.watch import JobWatch
from nofrost.ends import End
from nofrost.errors import say


class TaskError(NamedTuple):
    """The error that ended a job's task.

    Attributes:
        exit_code, message: of the task.
        input_is_wrong: it would end the same on every machine; a full disk, for example, ends with 2 and would not.
    """

    exit_code: int
    message: str
    input_is_wrong: bool


# Returns the error that the task of a run's job has recorded since a time; None without one.
Recorded = Callable[[str, datetime], TaskError | None]
# The reason that a queue gives changes all the time.
_REPEAT_S = 60.0


class JobFollower:
    """Follows one job.

    Args:
        job: as the server has it.
        nodes: number of its pods.
    """

    def __init__(
        self, api: KubernetesApi, kind: JobKind, job: dict[str, Any], nodes: int, limits: Limits, recorded: Recorded
    ) -> None:
        self._api, self._kind, self._job, self._nodes = api, kind, job, nodes
        self._limits, self._recorded = limits, recorded
        self._name, self._uid = job["metadata"]["name"], job["metadata"]["uid"]
        self._what = f"{kind.kind} {self._name}"
        self._collection = kind.path(api.namespace)
        self._path = f"{self._collection}/{self._name}"
        self._pods: list[dict[str, Any]] = []
        self._times, self._start_checks = JobTimes(job, limits, api.now()), StartChecks(api, kind, job, nodes, limits)
        # When the server has last answered all that was asked; it is silent when a later request has failed.
        self._answered, self._is_silent = time.monotonic(), False
        self._said, self._said_s = JobState(JobPhase.CREATED, ""), 0.0

    def follow(self) -> None:
        """Return when the job has succeeded.

        Raises:
            WrongInputError: it failed by wrong input.
            JobEndedError: it failed otherwise, met a limit, or was deleted by somebody else.
            OutOfReachError: the server does not answer.
        """
        watch = JobWatch(self._api, self._collection, self._name)
        try:
            while True:
                watch.changed.wait(self._limits.interval_s)
                watch.changed.clear()
                self._look(watch)
                state = self._state()
                self._say(state)
                if state.phase is JobPhase.SUCCEEDED:
                    return
                if state.phase is JobPhase.FAILED:
                    raise self._failure()
                self._check(state)
        finally:
            watch.close()

    def _look(self, watch: JobWatch) -> None:
        """Take the newest state of the job and its pods; the last known ones while the server does not answer.

        A refusal says nothing about the job either: a server that has just started knows no rights yet, and no kinds.
        """
        try:
            found = watch.newest if watch.error is None and watch.is_known else self._get()
            if found is None or found["metadata"]["uid"] != self._uid:
                raise JobEndedError(
                    f"{self._what} was deleted by somebody else while it was followed: submit again to continue from "
                    "what it has saved"
                )
            self._job = found
            query = {"labelSelector": self._kind.selector(self._name)}
            page = self._api.request("GET", self._api.pods_path, query)
            self._pods = list(page.get("items", ()))
        except KubernetesError as error:
            if not self._is_silent:
                say(f"{self._name}: {error}: asked again until it answers")
            self._is_silent = True
            if time.monotonic() - self._answered > self._limits.outage_s:
                raise OutOfReachError(
                    f"{error} for {self._limits.outage_s:.0f} s: {self._what} may continue: submit again to follow it"
                ) from None
            return
        if self._is_silent:
            say(f"{self._name}: Kubernetes answers again")
        self._answered, self._is_silent = time.monotonic(), False

    def _get(self) -> dict[str, Any] | None:
        try:
            return self._api.request("GET", self._path)
        except KubernetesError as error:
            if not error.is_missing:
                raise
            return None

    def _state(self) -> JobState:
        queue = ""
        if is_suspended(self._job) and not self._is_silent:
            queue = queue_reason(self._api, self._uid)
        elif not self._pods and not self._is_silent:
            queue = gang_reason(self._api, self._job)
        return job_state(self._kind, self._job, self._pods, self._nodes, queue)

    def _say(self, state: JobState) -> None:
        now, before = time.monotonic(), self._said
        if state == before:
            return
        if state.phase is before.phase is JobPhase.QUEUED and ":" in before.text and now - self._said_s < _REPEAT_S:
            return
        text = state.text
        if state.phase is JobPhase.QUEUED and before.phase in (JobPhase.PENDING, JobPhase.RUNNING):
            text = f"evicted, {text}"
        elif before.phase is JobPhase.QUEUED and state.phase in (JobPhase.CREATED, JobPhase.PENDING, JobPhase.RUNNING):
            text = f"admitted, {text}"
        say(f"{self._name}: {text}")
        self._said, self._said_s = state, now

    def _check(self, state: JobState) -> None:
        """Compare with its limits what takes time: the work, the wait for nodes, and the start of the pods."""
        had_run = self._times.has_run
        self._times.add(state.phase, is_known=not self._is_silent)
        if had_run and not self._times.has_run:
            self._start_checks.forget_warnings()
        self._times.check(self._what, self._nodes, state.text)
        if self._is_silent:
            self._start_checks.clear()
            return
        self._times.sign(self._api, self._path, self._uid)
        if state.phase in (JobPhase.CREATED, JobPhase.PENDING):
            self._start_checks.check(self._job, self._pods, has_run=self._times.has_run)
        else:
            self._start_checks.clear()

    def _failure(self) -> Exception:
        """Return the error of a job that has failed: what its task has recorded, and the exit codes of its pods."""
        zero = {pod["metadata"]["name"] for pod in rank_zero(self._pods)}
        codes = exit_codes(self._pods)
        for pod, code in codes.items():
            if pod not in zero:
                say(f"the end of the log of {pod}, which ended with {code}:")
                for line in tail(self._api, pod):
                    say(f"{pod}: {line}")
        created = time_of(self._job["metadata"].get("creationTimestamp"))
        recorded = self._recorded(run_of(self._job), created)
        ended = ", ".join(f"{pod} with {code}" for pod, code in sorted(codes.items()))
        text = str((condition(self._job, "Failed") or {}).get("message", ""))
        facts = filter(None, (recorded.message if recorded else "", text, f"ended: {ended}" if ended else ""))
        message = f"{self._what} failed: {'; '.join(facts) or 'no reason is given'}"
        if recorded and End(recorded.exit_code).is_wrong_input:
            return WrongInputError(message, recorded.message) if recorded.input_is_wrong else JobEndedError(message)
        is_wrong = any(End(code).is_wrong_input for code in codes.values())
        return WrongInputError(message) if is_wrong else JobEndedError(message)
