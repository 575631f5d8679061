"""A job is followed to its end: what becomes of it is said, and what takes too long ends it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.creation import JobEndedError, WrongInputError
from nofrost.cluster.launcher.reasons import gang_reason, queue_reason, run_of, tail, warnings
from nofrost.cluster.launcher.signs import signs, worked_s
from nofrost.cluster.launcher.state import (
    JobPhase,
    JobState,
    condition,
    existence_s,
    exit_codes,
    is_suspended,
    job_state,
    rank_zero,
    start_problem,
    time_of,
)
from nofrost.cluster.launcher.watch import JobWatch
from nofrost.errors import UserError, remark, say


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
_REPEAT_S = 60.0


@dataclass(frozen=True)
class Limits:
    """How long a launcher waits for what, in seconds.

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


class OutOfReachError(JobEndedError):
    """The API server has not answered for too long. The job may go on, and is left to another launcher."""


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
        self._path = kind.path(api.namespace)
        self._pods: list[dict[str, Any]] = []
        self._said, self._said_s = JobState(JobPhase.CREATED, ""), 0.0
        self._said_warnings: set[str] = set()
        # Older warnings are about an earlier job of this name, or about what has passed.
        self._warned_since = time_of(job["metadata"].get("creationTimestamp"))
        # Each began to be so at this moment of time.monotonic; absent if it is not so.
        self._since: dict[str, float] = {}
        # An adopted job has worked for other launchers before.
        self._worked_s, self._signed = worked_s(job), -math.inf if job.get("status") else time.monotonic()
        self._has_run, self._is_silent = self._worked_s > 0, False

    def follow(self) -> None:
        """Return when the job has succeeded.

        Raises:
            WrongInputError: it failed by wrong input.
            JobEndedError: it failed otherwise, met a limit, or was deleted by somebody else.
            OutOfReachError: the server does not answer.
        """
        watch = JobWatch(self._api, self._path, self._name)
        looked = time.monotonic()
        self._since["contact"] = looked
        self._since["waiting"] = looked - self._waited_s()
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
                now = time.monotonic()
                self._check_times(state, now, now - looked)
                looked = now
                self._sign(now)
                self._check_start(state, now)
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
                    f"{self._kind.kind} {self._name} was deleted by somebody else while it was followed: submit "
                    "again to go on from what it has saved"
                )
            self._job = found
            query = {"labelSelector": self._kind.selector(self._name)}
            page = self._api.request("GET", self._api.pods_path, query)
            self._pods = list(page.get("items", ()))
            self._since["contact"] = time.monotonic()
            if self._is_silent:
                say(f"{self._name}: Kubernetes answers again")
            self._is_silent = False
        except KubernetesError as error:
            if not self._is_silent:
                say(f"{self._name}: {error}: asked again until it answers")
            self._is_silent = True
            if time.monotonic() - self._since["contact"] > self._limits.outage_s:
                raise OutOfReachError(
                    f"{error} for {self._limits.outage_s:.0f} s: {self._kind.kind} {self._name} may go on: submit "
                    "again to follow it"
                ) from None

    def _get(self) -> dict[str, Any] | None:
        try:
            return self._api.request("GET", f"{self._path}/{self._name}")
        except KubernetesError as error:
            if not error.is_missing:
                raise
            return None

    def _waited_s(self) -> float:
        """Return for how long the job waits for its nodes, as far as it shows that itself."""
        suspended = condition(self._job, "Suspended")
        if suspended and is_suspended(self._job):
            return (datetime.now(UTC) - time_of(suspended.get("lastTransitionTime"))).total_seconds()
        # Where it has run, nobody knows since when it does not.
        return 0.0 if self._worked_s else existence_s(self._job)

    def _sign(self, now: float) -> None:
        """Note at the job, once in a while, that it is followed, and how long it has worked: for others later."""
        if now - self._signed < self._limits.sign_s or self._is_silent:
            return
        self._signed = now
        change = {"uid": self._uid, "annotations": signs(self._worked_s, has_run=self._has_run)}
        # It is no error if there is none.
        with suppress(KubernetesError):
            self._api.request("PATCH", f"{self._path}/{self._name}", content={"metadata": change})

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
        # The reason that a queue gives changes all the time.
        if state.phase is before.phase is JobPhase.QUEUED and ":" in before.text and now - self._said_s < _REPEAT_S:
            return
        text = state.text
        if state.phase is JobPhase.QUEUED and before.phase in (JobPhase.PLACED, JobPhase.RUNNING):
            text = f"evicted, {text}"
        elif before.phase is JobPhase.QUEUED and state.phase in (JobPhase.CREATED, JobPhase.PLACED, JobPhase.RUNNING):
            text = f"admitted, {text}"
        say(f"{self._name}: {text}")
        self._said, self._said_s = state, now

    def _check_times(self, state: JobState, now: float, passed_s: float) -> None:
        """Compare the time without all nodes, and the time with them, with their limits."""
        if state.phase is JobPhase.RUNNING:
            if not self._has_run:
                self._signed = -math.inf
            self._has_run = True
            self._since.pop("waiting", None)
        elif not self._is_silent:
            self._since.setdefault("waiting", now)
        if state.phase is JobPhase.QUEUED and self._has_run:
            self._has_run, self._warned_since = False, datetime.now(UTC)
        if "waiting" not in self._since:
            self._worked_s += passed_s
        if self._worked_s > self._limits.deadline_s:
            raise JobEndedError(
                f"{self._kind.kind} {self._name} has not ended in {self._limits.deadline_s:.0f} s, its deadline: raise "
                "deadline_s of the training job, and submit again to go on from what it has saved"
            )
        if now - self._since.get("waiting", now) > self._limits.queue_timeout_s:
            raise JobEndedError(
                f"{self._kind.kind} {self._name} does not run on {self._nodes} nodes after "
                f"{self._limits.queue_timeout_s:.0f} s ({state.text}): submit again when there is room, or raise "
                "queue_timeout_s of the training job"
            )

    def _check_start(self, state: JobState, now: float) -> None:
        """Compare what keeps the pods from starting with the patience for that; it is said at once."""
        if state.phase not in (JobPhase.CREATED, JobPhase.PLACED) or self._is_silent:
            for key in ("image", "warning", "operator"):
                self._since.pop(key, None)
            return
        # A node that starts again, after the job has run, may wait as long as for a place.
        problem = "" if self._has_run else start_problem(self._pods)
        self._hold("image", problem, f"correct image or credentials of {self._kind.kind} {self._name}", now)
        found = warnings(self._api, self._job, self._warned_since)
        for text in found:
            if text not in self._said_warnings:
                remark(f"{self._name}: {text}")
                self._said_warnings.add(text)
        # Once all pods are there, they tell; and one that ran and starts again has met no warning that matters.
        newest = found[-1] if found and len(self._pods) < self._nodes and not self._has_run else ""
        self._hold("warning", newest, f"correct what keeps {self._kind.kind} {self._name} from its pods", now)
        silent = not self._pods and not found and not self._job.get("status")
        if silent and now - self._since.setdefault("operator", now) > self._limits.operator_s:
            raise JobEndedError(
                f"no operator has touched {self._kind.kind} {self._name} for {self._limits.operator_s:.0f} s: look "
                f"whether the controller of {self._kind.plural}.{self._kind.group} runs, and submit again"
            )
        if not silent:
            self._since.pop("operator", None)

    def _hold(self, key: str, problem: str, remedy: str, now: float) -> None:
        """Raise a problem as an error once it has been there for longer than patience lasts."""
        if not problem:
            self._since.pop(key, None)
            return
        if key not in self._since and key == "image":
            remark(f"{self._name}: {problem}: the launch ends if that lasts {self._limits.start_s:.0f} s")
        if now - self._since.setdefault(key, now) >= self._limits.start_s:
            raise JobEndedError(f"{problem}, for {self._limits.start_s:.0f} s: {remedy}, and submit again")

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
        message = f"{self._kind.kind} {self._name} failed: {'; '.join(facts) or 'no reason is given'}"
        if recorded and recorded.exit_code == UserError.exit_code:
            return WrongInputError(message, recorded.message) if recorded.input_is_wrong else JobEndedError(message)
        return WrongInputError(message) if UserError.exit_code in codes.values() else JobEndedError(message)
