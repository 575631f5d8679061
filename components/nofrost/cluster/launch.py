"""A training job from its creation to its end: followed, and deleted whatever ends its launcher.

None is started twice: the name of a job is that of its content, so a launcher that is started again finds the job of
the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from nofrost.cluster.job_creation import JobEndedError, create_or_adopt
from nofrost.cluster.job_follower import JobFollower, Limits, OutOfReachError, Recorded
from nofrost.cluster.job_spec import SPEC_ANNOTATION
from nofrost.cluster.job_store import StoredLog, job_output_name, read_output
from nofrost.cluster.kubernetes_api import KubernetesApi, KubernetesError
from nofrost.cluster.kubernetes_facts import TrainingJob
from nofrost.cluster.rank_log import RankLog
from nofrost.errors import printable, remark, say
from nofrost.stopping import TerminatedError
from nofrost.store import Output, Store

_STOPS = (TerminatedError, KeyboardInterrupt)
# For the rest of the log when this process is asked to stop.
_STOPPED_S = 1.0


def launch(
    job: Mapping[str, Any],
    kind: TrainingJob,
    nodes: int,
    *,
    api: KubernetesApi,
    store: Store,
    limits: Limits,
    recorded: Recorded,
    show: Callable[[str], object] = say,
) -> str:
    """Run a training job to its end, and return its output (PATH@REF).

    The job is deleted at the end, after its log is in the store. SIGTERM deletes it at once.

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
    """
    path, name = f"{kind.path(api.namespace)}/{job['metadata']['name']}", job["metadata"]["name"]
    pods, selector = f"/api/v1/namespaces/{api.namespace}/pods", f"{kind.pod_label}={name}"
    # A store that cannot be reached is found out before there is a job.
    with closing(StoredLog(name, store)) as stored:

        def follow_log() -> RankLog:
            return RankLog(api, pods, selector, stored, show, limits.interval_s)

        try:
            found = create_or_adopt(
                api,
                kind,
                job,
                save_log=lambda: follow_log().finish(limits.log_s),
                deletion_s=limits.deletion_s,
                interval_s=limits.interval_s,
            )
        except _STOPS:
            _delete_unseen(api, path, job)
            raise
        with _deleted_at_the_end(api, path, found["metadata"]["uid"], limits.log_s) as end:
            end.log = follow_log()
            JobFollower(api, kind, found, nodes, limits, recorded).follow()
            end.log.finish(limits.log_s)
            output = read_output(name, store)
            if output is None:
                raise JobEndedError(
                    f"{kind.kind} {name} succeeded, but {store.url} holds no {job_output_name(name)}: its image is "
                    "another version of nofrost, or it has another store: compare them, and submit again"
                )
            return str(Output.parse(printable(output)))


class _LaunchEnd:
    """What belongs to the end of a launch."""

    log: RankLog | None = None


@contextmanager
def _deleted_at_the_end(api: KubernetesApi, path: str, uid: str, log_s: float) -> Iterator[_LaunchEnd]:
    """Delete a job at the end of the block, after its log is stored; at once if this process is asked to stop.

    One that is out of reach is left as it is: its work would be lost where the server answers again meanwhile.
    """
    end = _LaunchEnd()
    try:
        try:
            yield end
        except (*_STOPS, OutOfReachError):
            raise
        except BaseException:
            if end.log is not None:
                end.log.finish(log_s)
            raise
    except OutOfReachError:
        if end.log is not None:
            end.log.finish(_STOPPED_S)
        raise
    except _STOPS:
        _delete_now(api, path, uid)
        if end.log is not None:
            end.log.finish(_STOPPED_S)
        raise
    except BaseException:
        _delete(api, path, uid)
        raise
    _delete(api, path, uid)


def _delete(api: KubernetesApi, path: str, uid: str) -> None:
    try:
        api.delete(path, uid)
    except KubernetesError as error:
        _left(path, error)
    except _STOPS:
        _delete_now(api, path, uid)
        raise


def _delete_now(api: KubernetesApi, path: str, uid: str) -> None:
    """Delete a job with one request, on a connection that is open; with a second one if that is broken."""
    try:
        try:
            api.delete_once(path, uid)
        except KubernetesError as error:
            if error.status:
                raise
            api.delete_once(path, uid)
    except KubernetesError as error:
        _left(path, error)


def _delete_unseen(api: KubernetesApi, path: str, job: Mapping[str, Any]) -> None:
    """Delete the job that a request without an answer may have created; not one of another specification."""
    try:
        found = api.once("GET", path)["metadata"]
        if found.get("annotations", {}).get(SPEC_ANNOTATION) == job["metadata"]["annotations"][SPEC_ANNOTATION]:
            api.delete_once(path, found["uid"])
    except KubernetesError as error:
        if error.status != 404:
            _left(path, error)


def _left(path: str, error: KubernetesError) -> None:
    namespace, plural, name = path.split("/")[-3:]
    remark(f"the job may be left ({error}): run kubectl delete {plural} {name} --namespace {namespace}")
