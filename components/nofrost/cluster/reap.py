"""The reaper: training jobs that no one needs any more are deleted once their logs are in the store.

Launchers and `finish` delete the jobs of their runs. What is left is of runs whose pods were killed all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.discovery import served_kinds
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.deletion import delete_if_ours
from nofrost.cluster.launcher.rank_log import RankLog
from nofrost.cluster.launcher.signs import seen
from nofrost.cluster.launcher.state import time_of
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.store import Store

# For the log of a job, and between two looks for its pods meanwhile.
_LOG_S, _INTERVAL_S = 60.0, 10.0
_CANCELLED = timedelta(minutes=10)


@dataclass(frozen=True)
class ReapedJob:
    """A job that no one needs.

    Attributes:
        kind, name: of the job.
        reason: why no one needs it.
        problem: why it could not be deleted; "" if it was, or no one wanted that.
    """

    kind: str
    name: str
    reason: str
    problem: str = ""


def reap(
    api: KubernetesApi, store: Store, ended: Callable[[str], datetime | None], *, least_age_s: float, pretend: bool
) -> Iterator[ReapedJob]:
    """Delete the jobs of the namespace whose run is over, or whose launcher has been gone for long; yield each.

    One whose launcher runs is left alone, also where the run has ended once: Kubeflow can try its tasks again. A job
    is left as well if its log cannot be stored, or a launcher adopts it meanwhile.

    The job is deleted, never the JobSet of a TrainJob, which its controller would make again.

    Args:
        ended: returns when the run of an id has ended; None if that is not known.
        least_age_s: seconds since the end of the launcher of a job whose run is not known to have ended.
        pretend: whether to leave them as they are.

    Raises:
        KubernetesError: the server refuses to list the jobs, or does not answer.
    """
    for kind in served_kinds(api):
        for job in api.items(kind.path(api.namespace), labelSelector=RUN_LABEL):
            metadata = job["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            if reason := _reason(api, job, ended, least_age_s):
                problem = "" if pretend else _store_and_delete(api, kind, job, store)
                yield ReapedJob(kind.kind, metadata["name"], reason, problem)


def _reason(
    api: KubernetesApi, job: Mapping[str, Any], ended: Callable[[str], datetime | None], least_age_s: float
) -> str:
    """Return why no one needs a job; "" if someone may."""
    launchers = [_launcher_end(api, owner) for owner in job["metadata"].get("ownerReferences", ())]
    if any(launcher is True for launcher in launchers):
        return ""
    known = [launcher for launcher in launchers if isinstance(launcher, datetime)]
    followed = max([seen(job), *known])
    run = job["metadata"]["labels"][RUN_LABEL]
    over = ended(run)
    # A launcher that is cancelled may end after its run.
    if over is not None and over >= followed - _CANCELLED:
        return f"run {run} is over"
    gone_s = (api.now() - followed).total_seconds()
    return f"its launcher has been gone for {gone_s / 3600:.1f} hours" if gone_s >= least_age_s else ""


def _launcher_end(api: KubernetesApi, owner: Mapping[str, Any]) -> datetime | bool:
    """Return when the pod of a launcher has ended; True if it has not, False if it is gone."""
    try:
        pod = api.get(f"{api.pods_path}/{owner['name']}")
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    status = pod.get("status", {})
    if pod["metadata"]["uid"] != owner["uid"]:
        return False
    if status.get("phase") not in ("Succeeded", "Failed"):
        return True
    states = [each.get("state", {}).get("terminated") for each in status.get("containerStatuses", ())]
    ends = [time_of(state["finishedAt"]) for state in states if state and state.get("finishedAt")]
    return max(ends) if ends else False


def _store_and_delete(api: KubernetesApi, kind: JobKind, job: Mapping[str, Any], store: Store) -> str:
    """Store the log of a job and delete it; return what prevents that."""
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    with closing(StoredLog(name, store)) as stored:
        if not RankLog(api, kind, name, stored, lambda _: None, _INTERVAL_S).finish(_LOG_S):
            return "the end of its log cannot be read, or stored"
    try:
        is_deleted = delete_if_ours(api, f"{kind.path(api.namespace)}/{name}", job, uid)
    except KubernetesError as error:
        return str(error)
    return "" if is_deleted else "another launcher follows it by now"
