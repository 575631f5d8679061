"""The reaper: training jobs that nobody needs any more are deleted, after their logs are in the store.

Launchers and `finish` delete the jobs of their runs. What is left is of runs whose pods were killed all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nofrost.cluster.job_kind import served_kinds
from nofrost.cluster.job_state import existence_s
from nofrost.cluster.job_store import StoredLog
from nofrost.cluster.kubernetes_api import KubernetesApi, KubernetesError
from nofrost.cluster.kubernetes_facts import TrainingJob
from nofrost.cluster.rank_log import RankLog
from nofrost.cluster.run_jobs import LABEL
from nofrost.store import Store

_LOG_S = 60.0


@dataclass(frozen=True)
class ReapedJob:
    """A job that nobody needs.

    Attributes:
        kind, name: of the job.
        reason: why nobody needs it.
        problem: why it could not be deleted; "" if it was, or nobody wanted that.
    """

    kind: str
    name: str
    reason: str
    problem: str = ""


def reap(
    api: KubernetesApi, store: Store, is_over: Callable[[str], bool], *, least_age_s: float, pretend: bool
) -> Iterator[ReapedJob]:
    """Delete the jobs of the namespace whose run is over, or whose launcher is gone; yield each.

    The job is deleted, never the JobSet of a TrainJob, which its controller would make again.

    Args:
        is_over: whether the run of an id has ended.
        least_age_s: of a job whose run is not known to have ended, but whose launcher's pod is gone.
        pretend: whether to leave them as they are.

    Raises:
        KubernetesError: the server refuses to list the jobs, or does not answer.
    """
    for kind in served_kinds(api):
        for job in api.items(kind.path(api.namespace), labelSelector=LABEL):
            metadata = job["metadata"]
            if metadata.get("deletionTimestamp"):
                continue
            if reason := _reason(api, job, is_over, least_age_s):
                problem = "" if pretend else _delete(api, kind, metadata["name"], metadata["uid"], store)
                yield ReapedJob(kind.kind, metadata["name"], reason, problem)


def _reason(api: KubernetesApi, job: Mapping[str, Any], is_over: Callable[[str], bool], least_age_s: float) -> str:
    """Return why nobody needs a job; "" if somebody may."""
    run = job["metadata"]["labels"][LABEL]
    if is_over(run):
        return f"run {run} is over"
    age_s = existence_s(job)
    if age_s >= least_age_s and not any(_is_there(api, owner) for owner in job["metadata"].get("ownerReferences", ())):
        return f"its launcher is gone, and it is {age_s / 3600:.1f} hours old"
    return ""


def _is_there(api: KubernetesApi, owner: Mapping[str, Any]) -> bool:
    try:
        pod = api.get(f"/api/v1/namespaces/{api.namespace}/pods/{owner['name']}")
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    has_ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return bool(pod["metadata"]["uid"] == owner["uid"]) and not has_ended


def _delete(api: KubernetesApi, kind: TrainingJob, name: str, uid: str, store: Store) -> str:
    """Store the log of a job and delete it; return what prevents that."""
    selector = f"{kind.pod_label}={name}"
    pods = f"/api/v1/namespaces/{api.namespace}/pods"
    stored = StoredLog(name, store)
    RankLog(api, pods, selector, stored, lambda _: None, _LOG_S).finish(_LOG_S)
    stored.close()
    try:
        api.delete(f"{kind.path(api.namespace)}/{name}", uid)
    except KubernetesError as error:
        return str(error)
    return ""
