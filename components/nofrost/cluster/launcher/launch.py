"""A training job from its creation to its end: followed, and deleted whatever ends its launcher.

None is started twice: the name of a job is that of its content, so a launcher that is started again finds the job of
the one before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import Backoff, KubernetesError
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.job.spec import SPEC_ANNOTATION
from nofrost.cluster.launcher.creation import JobEndedError, WrongInputError, create_or_adopt
from nofrost.cluster.launcher.deletion import belongs_to, delete_owned
from nofrost.cluster.launcher.follower import JobFollower, Limits, OutOfReachError, Recorded
from nofrost.cluster.launcher.rank_log import RankLog
from nofrost.cluster.launcher.reasons import run_of
from nofrost.cluster.launcher.state import condition
from nofrost.cluster.outcome.job_result import JobResult, read_result, write_result
from nofrost.cluster.outcome.stored_log import StoredLog, job_output_name, read_output
from nofrost.errors import UnavailableError, UserError, printable, remark, say
from nofrost.stopping import TerminatedError
from nofrost.store import Output, Store

_STOPS = (TerminatedError, KeyboardInterrupt)
# For the rest of the log when this process is asked to stop.
_STOPPED_S = 1.0
# After which a job is looked for that a request without an answer may still make: admission takes its time.
_LATE_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
T = TypeVar("T")


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

    The job is deleted at its end, after its log is in the store, as far as the store takes it. SIGTERM deletes it at
    once. It is left as it is by an end that says nothing about it, such as an API server or a store that does not
    answer, and where another launcher has adopted it: whoever follows it then has it.

    Args:
        job: the body of the request that creates it.
        nodes: number of its pods.
        store: of its output and log.
        recorded: returns the error that the job's task has recorded in the store.
        show: is called with each line of the log of rank 0.

    Raises:
        UserError: it can never succeed: wrong input or settings, or another job has its name.
        JobEndedError: it failed, met a limit, was deleted by somebody else, or left no output.
        KubernetesError: the server does not answer.
        UnavailableError: the store does not answer.
    """
    path, name = f"{kind.path(api.namespace)}/{job['metadata']['name']}", job["metadata"]["name"]
    run = job["metadata"].get("labels", {}).get(RUN_LABEL, "")
    # Of a run, this also finds out before there is a job whether the store answers.
    if before := read_result(name, run, store):
        if before.error:
            raise UserError(f"{kind.kind} {name} has failed in this run, and would fail again: {before.error}")
        if not _is_alive(api, path, job):
            say(f"{kind.kind} {name} has succeeded in this run before: {printable(before.output)}")
            return str(Output.parse(printable(before.output)))
    with closing(StoredLog(name, store)) as stored, _ended(api, path, job, limits.log_s) as end:

        def follow_log() -> RankLog:
            return RankLog(api, kind, name, stored, show, limits.interval_s)

        found = create_or_adopt(
            api,
            kind,
            job,
            save_log=lambda: follow_log().finish(limits.log_s),
            deletion_s=limits.deletion_s,
            interval_s=limits.interval_s,
            asked=end.asked,
        )
        end.uid, end.log = found["metadata"]["uid"], follow_log()
        try:
            JobFollower(api, kind, found, nodes, limits, recorded).follow()
        except OutOfReachError:
            raise
        except JobEndedError:
            # One that was deleted, or failed, after it had trained: by another launcher, for example.
            output = _output_of((run, run_of(found)), name, store, limits.outage_s)
            if output is None:
                raise
            end.finish_log(limits.log_s)
        except WrongInputError as error:
            if error.problem:
                _note(name, run, JobResult(error=error.problem), store)
            raise
        else:
            end.finish_log(limits.log_s)
            output = _answered(partial(read_output, name, store), limits.outage_s)
        if output is None:
            raise JobEndedError(
                f"{kind.kind} {name} succeeded, but {store.url} holds no {job_output_name(name)}: its image is "
                "another version of nofrost, or it has another store: compare them, and submit again"
            )
        output = str(Output.parse(printable(output)))
        _note(name, run, JobResult(output=output), store)
        return output


def _is_alive(api: KubernetesApi, path: str, job: Mapping[str, Any]) -> bool:
    """Return whether there is a job to follow to its end; one of ours that has failed is deleted."""
    try:
        found = api.get(path)
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    if not condition(found, "Failed"):
        return True
    if found["metadata"].get("labels", {}).get(RUN_LABEL) == job["metadata"].get("labels", {}).get(RUN_LABEL):
        api.delete(path, found["metadata"]["uid"])
    return False


def _output_of(runs: tuple[str, ...], name: str, store: Store, patience_s: float) -> str | None:
    """Return what a job has trained for a run: its pods note it, and launchers that follow it too."""
    for run in runs:
        result = _answered(partial(read_result, name, run, store), patience_s)
        if result and result.output:
            return result.output
    return None


def _answered(ask: Callable[[], T], patience_s: float) -> T:
    """Return `ask()`, which is called again while the store does not answer, for a while."""
    backoff, end = Backoff(), time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except UnavailableError as error:
            if time.monotonic() > end:
                raise
            say(f"{error}: asked again until it answers")
            time.sleep(backoff.next_s())


def _note(name: str, run: str, result: JobResult, store: Store) -> None:
    """Note what the job has come to; a store that refuses is no error, as only another try would read it."""
    try:
        write_result(name, run, result, store)
    except UserError as error:
        remark(f"the result of the job is not in the store: {error}")


class _LaunchEnd:
    """What belongs to the end of a launch.

    Attributes:
        asked: set while a request that makes the job is under way.
        uid: of the job; "" before it is known.
        log: None before the job is followed.
    """

    def __init__(self) -> None:
        self.asked, self.uid = threading.Event(), ""
        self.log: RankLog | None = None

    def finish_log(self, patience_s: float) -> None:
        if self.log is not None and not self.log.finish(patience_s):
            remark("the end of the log of the job could not be read, or stored")


@contextmanager
def _ended(api: KubernetesApi, path: str, job: Mapping[str, Any], log_s: float) -> Iterator[_LaunchEnd]:
    """Delete the job of a block at its end, if that decides about the job, and nobody else has adopted it.

    - success, or an end of the job: after its log is stored
    - a request to this process to stop: at once, and the log afterwards
    - anything else: not at all, as its work would be lost, and the next try follows it
    """
    end = _LaunchEnd()
    try:
        try:
            yield end
        except OutOfReachError:
            raise
        # A request to stop may come while the log is read.
        except (JobEndedError, WrongInputError):
            end.finish_log(log_s)
            if end.uid:
                _delete(api, path, job, end.uid)
            raise
        _delete(api, path, job, end.uid)
    except _STOPS:
        _delete_now(api, path, job, end)
        end.finish_log(_STOPPED_S)
        raise
    except BaseException:
        end.finish_log(_STOPPED_S)
        raise


def _delete(api: KubernetesApi, path: str, job: Mapping[str, Any], uid: str) -> None:
    def is_owned(found: Mapping[str, Any]) -> bool:
        return bool(found["metadata"]["uid"] == uid) and belongs_to(found, job)

    try:
        if api.with_retries(lambda: delete_owned(api, path, is_owned)) is False:
            say(f"{job['metadata']['name']} is left to the launcher that has adopted it")
    except KubernetesError as error:
        _left(path, error)


def _delete_now(api: KubernetesApi, path: str, job: Mapping[str, Any], end: _LaunchEnd) -> None:
    """Delete the job on connections that are open; also one that a request whose answer was not read makes later."""

    def is_owned(found: Mapping[str, Any]) -> bool:
        has = (found["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION)
        return bool(has == job["metadata"]["annotations"][SPEC_ANNOTATION]) and belongs_to(found, job)

    try:
        for pause_s in _LATE_S if end.asked.is_set() else (0.0,):
            time.sleep(pause_s)
            if delete_owned(api, path, is_owned) is not None:
                return
        if end.asked.is_set():
            _left(path, KubernetesError(f"to create {path}", 0, "stopped before the answer"))
    except KubernetesError as error:
        # A broken connection is replaced by a new one.
        if not error.status and end.uid:
            with suppress(KubernetesError):
                api.delete_once(path, end.uid)
                return
        _left(path, error)


def _left(path: str, error: KubernetesError) -> None:
    namespace, plural, name = path.split("/")[-3:]
    remark(f"the job may be left ({error}): run kubectl delete {plural} {name} --namespace {namespace}")
