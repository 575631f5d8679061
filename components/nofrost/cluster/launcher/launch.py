"""A training job from its creation to its end: followed, and deleted whatever ends its launcher.

None is started twice: the name of a job is that of its content, so a launcher that is started again finds the job of
the one before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.identity import RUN_LABEL, run_of
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.creation import create_or_adopt
from nofrost.cluster.launcher.deletion import delete_at_once, delete_at_the_end
from nofrost.cluster.launcher.follower import JobFollower, Recorded
from nofrost.cluster.launcher.job_ends import JobEndedError, WrongInputError
from nofrost.cluster.launcher.job_output import note_result, output_for_runs, output_of_job
from nofrost.cluster.launcher.rank_log import RankLog
from nofrost.cluster.launcher.state import condition
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.outcome.job_result import JobResult, read_result
from nofrost.cluster.outcome.stored_log import StoredLog, job_output_name
from nofrost.errors import UserError, printable, remark, say
from nofrost.stopping import TerminatedError
from nofrost.store import Output, Store

# For the rest of the log where the job does not end, or must not wait for it.
_LAST_LINES_S = 1.0


def launch(
    job: Mapping[str, Any],
    kind: JobKind,
    nodes: int,
    *,
    api: KubernetesApi,
    store: Store,
    limits: Limits,
    recorded: Recorded,
    show: Callable[[str], object] = say,
) -> str:
    """Run a training job to its end, and return its output (PATH@REF).

    ========================================= ========== ============================== ==============================
    what ends the launch                      exit code  the rest of the log            the job
    ========================================= ========== ============================== ==============================
    the job has succeeded                     0          is stored before               is deleted
    it failed, met a limit, was deleted by    1; 2 for   is stored before               is deleted, if it is there
    others, or has no output                  wrong
                                              input
    SIGTERM or SIGINT, at any moment          143; 130   is stored after, for a second  is deleted at once, also one
                                                                                        whose creation has no answer
    anything else, such as an API server or   1 or 2     is stored, for a second        is left: it may continue; the
    a store that does not answer                                                        next launcher follows it
    ========================================= ========== ============================== ==============================

    The log is stored as far as the store takes it. A job that another launcher has adopted is never deleted.

    Args:
        job: the body of the request that creates it.
        nodes: number of its pods.
        store: of its output and log.
        recorded: returns the error that the job's task has recorded in the store.
        show: is called with each line of the log of rank 0.

    Raises:
        UserError: it can never succeed: wrong input or settings, or another job has its name.
        JobEndedError: it failed, met a limit, was deleted by somebody else, or left no output.
        OutOfReachError, KubernetesError: the server does not answer.
        UnavailableError: the store does not answer.
    """
    name, run = job["metadata"]["name"], _run_label(job)
    # Of a run, this also finds out before there is a job whether the store answers.
    if before := read_result(name, run, store):
        if before.error:
            raise UserError(f"{kind.kind} {name} has failed in this run, and would fail again: {before.error}")
        if not _is_alive(api, f"{kind.path(api.namespace)}/{name}", run):
            say(f"{kind.kind} {name} has succeeded in this run before: {printable(before.output)}")
            return str(Output.parse(printable(before.output)))
    with closing(StoredLog(name, store)) as stored:
        launched = _Launch(job, kind, nodes, api, store, stored, limits, show)
        try:
            found = launched.create()
            end = launched.follow(found, recorded)
            launched.finish_log(limits.log_s)
            launched.delete()
        except (TerminatedError, KeyboardInterrupt):
            launched.delete_at_once()
            launched.finish_log(_LAST_LINES_S)
            raise
        except BaseException:
            launched.finish_log(_LAST_LINES_S)
            raise
    if isinstance(end, str):
        return end
    raise end


class _Launch:
    """The steps of a launch, of which each may be the last one."""

    def __init__(
        self,
        job: Mapping[str, Any],
        kind: JobKind,
        nodes: int,
        api: KubernetesApi,
        store: Store,
        stored: StoredLog,
        limits: Limits,
        show: Callable[[str], object],
    ) -> None:
        self._job, self._kind, self._nodes, self._api = job, kind, nodes, api
        self._store, self._stored, self._limits, self._show = store, stored, limits, show
        self._name, self._run = job["metadata"]["name"], _run_label(job)
        self._path = f"{kind.path(api.namespace)}/{self._name}"
        # Set while a request that makes the job is under way.
        self._asked = threading.Event()
        self._uid = ""
        self._log: RankLog | None = None
        # Whether it is said that the end of the log is missing.
        self._is_cut = False

    def create(self) -> dict[str, Any]:
        """Create the job, or adopt the one that is there; follow its log, and return it as the server has it."""
        found = create_or_adopt(
            self._api,
            self._kind,
            self._job,
            save_log=lambda: self._follow_log().finish(self._limits.log_s),
            deletion_s=self._limits.deletion_s,
            interval_s=self._limits.interval_s,
            asked=self._asked,
        )
        self._uid, self._log = found["metadata"]["uid"], self._follow_log()
        return found

    def follow(self, found: dict[str, Any], recorded: Recorded) -> str | JobEndedError | WrongInputError:
        """Follow the job to its end; return its output, or the error that it ended with.

        Raises:
            OutOfReachError: the server does not answer.
            UnavailableError: the store does not answer.
        """
        failure: JobEndedError | None = None
        try:
            JobFollower(self._api, self._kind, found, self._nodes, self._limits, recorded).follow()
            output = output_of_job(self._name, self._store, self._limits.outage_s)
        except WrongInputError as error:
            if error.problem:
                note_result(self._name, self._run, JobResult(error=error.problem), self._store)
            return error
        except JobEndedError as error:
            # One that was deleted, or failed, after it had trained: by another launcher, for example.
            failure, runs = error, (self._run, run_of(found))
            output = output_for_runs(self._name, runs, self._store, self._limits.outage_s)
        if output is None:
            return failure or JobEndedError(
                f"{self._kind.kind} {self._name} succeeded, but {self._store.url} holds no "
                f"{job_output_name(self._name)}: its image is another version of nofrost, or it has another store: "
                "compare them, and submit again"
            )
        note_result(self._name, self._run, JobResult(output=output), self._store)
        return output

    def finish_log(self, patience_s: float) -> None:
        """Show and store the rest of the log, if it was followed; no longer than `patience_s`."""
        if self._log is None or self._log.finish(patience_s) or self._is_cut:
            return
        self._is_cut = True
        remark("the end of the log of the job could not be read, or stored")

    def delete(self) -> None:
        """Delete the job after its end."""
        delete_at_the_end(self._api, self._path, self._job, self._uid)

    def delete_at_once(self) -> None:
        """Delete the job, if there is one, or a request may still make it."""
        delete_at_once(self._api, self._path, self._job, self._uid, may_come=self._asked.is_set())

    def _follow_log(self) -> RankLog:
        return RankLog(self._api, self._kind, self._name, self._stored, self._show, self._limits.interval_s)


def _run_label(job: Mapping[str, Any]) -> str:
    return str(job["metadata"].get("labels", {}).get(RUN_LABEL, ""))


def _is_alive(api: KubernetesApi, path: str, run: str) -> bool:
    """Return whether there is a job to follow to its end; one of this run that has failed is deleted."""
    try:
        found = api.get(path)
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    if not condition(found, "Failed"):
        return True
    if _run_label(found) == run:
        api.delete(path, found["metadata"]["uid"])
    return False
