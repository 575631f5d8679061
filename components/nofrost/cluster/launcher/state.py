"""The state of a training job, from what Kubernetes says of the job, its pods and its place in a queue; no requests.

Sources: the training operator 1.9 and Kubeflow Trainer 2.3 (which has no condition for a job that runs), Kueue, and
Kubernetes's documentation of the conditions of pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from nofrost.cluster.job.kinds import JobKind

Object = Mapping[str, Any]
# Why a container does not start, and what does not pass by itself in most cases.
_CANNOT_PULL = frozenset(
    ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
)
_CANNOT_START = _CANNOT_PULL | {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


class JobPhase(Enum):
    """How far a job has come: PENDING has pods, of which not all run, QUEUED is held back before that."""

    CREATED = "created"
    QUEUED = "queued"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class JobState:
    """How far a job has come, and a sentence on that.

    Attributes:
        text: for people, such as "placed 1 of 2: 0/4 nodes are available: 4 Insufficient nvidia.com/gpu".
    """

    phase: JobPhase
    text: str


def job_state(kind: JobKind, job: Object, pods: Sequence[Object], nodes: int, queue: str = "") -> JobState:
    """Return the state of a job.

    Args:
        pods: of the job.
        nodes: number of pods that it needs.
        queue: what the queue says of a job that waits in it, or "": one that is suspended, or has no pods yet.
    """
    if failed := condition(job, "Failed"):
        return JobState(JobPhase.FAILED, _with("failed", failed.get("message") or failed.get("reason")))
    if condition(job, kind.succeeded):
        return JobState(JobPhase.SUCCEEDED, "succeeded")
    if is_suspended(job):
        suspended = condition(job, "Suspended") or {}
        return JobState(JobPhase.QUEUED, _with("queued", queue or suspended.get("message")))
    # Those of the start before may still save and end.
    living = [pod for pod in pods if not (_is_evicted(pod) or pod.get("metadata", {}).get("deletionTimestamp"))]
    placed = [pod for pod in living if _is_placed(pod)]
    evicted = next((pod for pod in pods if _is_evicted(pod)), None)
    if len(living) < nodes and evicted is not None:
        return JobState(JobPhase.PENDING, f"evicted: {_name(evicted)}: {_eviction(evicted)}")
    if not pods:
        if restarting := condition(job, "Restarting"):
            return JobState(JobPhase.PENDING, _with("restarting", restarting.get("message")))
        if queue:
            return JobState(JobPhase.QUEUED, _with("queued", queue))
        return JobState(JobPhase.CREATED, "created: no pods yet")
    if len(placed) < nodes:
        why = next(filter(None, map(_why_unplaced, living)), "")
        return JobState(JobPhase.PENDING, _with(f"placed {len(placed)} of {nodes}", why))
    started = [pod for pod in placed if pod.get("status", {}).get("phase", "Pending") != "Pending"]
    if len(started) < nodes:
        why = next((text for pod in placed if (text := _waits_for(pod))), "")
        return JobState(JobPhase.PENDING, _with(f"placed {nodes} of {nodes}, started {len(started)}", why))
    return JobState(JobPhase.RUNNING, "running on 1 node" if nodes == 1 else f"running on {nodes} nodes")


def is_suspended(job: Object) -> bool:
    """Return whether a queue holds a job back: neither operator starts a pod then."""
    spec = job.get("spec", {})
    return bool(spec.get("suspend") or spec.get("runPolicy", {}).get("suspend"))


def start_problem(pods: Iterable[Object]) -> str:
    """Return what keeps a container from starting, such as an image that cannot be pulled; "" for nothing."""
    for pod in pods:
        for waiting in _waiting(pod):
            if waiting.get("reason") in _CANNOT_START:
                what = "its image cannot be pulled" if waiting["reason"] in _CANNOT_PULL else "it cannot start"
                return _with(f"{_name(pod)}: {what} ({waiting['reason']})", waiting.get("message"))
    return ""


def exit_codes(pods: Iterable[Object]) -> dict[str, int]:
    """Return the exit code of each pod whose container has ended otherwise than with 0, by the name of the pod."""
    codes = {}
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
            if ended and ended.get("exitCode"):
                codes[_name(pod)] = int(ended["exitCode"])
    return codes


def rank_zero(pods: Iterable[Object]) -> list[Object]:
    """Return the pods that are or were node 0 of a job, the oldest first."""
    zero = [pod for pod in pods if _is_node_zero(pod.get("metadata", {}))]
    return sorted(zero, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def condition(item: Object, kind: str) -> Object | None:
    """Return the condition of an object that is true; None if it is not, or there is none."""
    for each in item.get("status", {}).get("conditions") or ():
        if each.get("type") == kind and each.get("status") == "True":
            return dict(each)
    return None


def allowed_since(item: Object) -> Any:
    """Return since when a job has been allowed to run, or exists if nothing says that; as Kubernetes writes it."""
    since = item.get("status", {}).get("startTime") or item["metadata"].get("creationTimestamp")
    for each in item.get("status", {}).get("conditions") or ():
        if each.get("type") == "Suspended" and each.get("status") == "False":
            since = each.get("lastTransitionTime") or since
    return since


def passed_s(since: Any, now: datetime) -> float:
    """Return the seconds from a time, as Kubernetes writes it, to `now`; 0 for anything that is no time before it.

    Args:
        now: by the clock of the API server (:meth:`KubernetesApi.now`).
    """
    try:
        return max(0.0, (now - datetime.fromisoformat(str(since)).astimezone(UTC)).total_seconds())
    except ValueError:
        return 0.0


def time_of(text: Any) -> datetime:
    """Return a time of Kubernetes; the present for anything else."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


def _with(word: str, text: Any) -> str:
    clause = " ".join(str(text or "").split()).rstrip(".")
    return f"{word}: {clause}" if clause else word


def _name(pod: Object) -> str:
    return str(pod.get("metadata", {}).get("name", "a pod"))


def _pod_condition(pod: Object, kind: str) -> Object:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _is_placed(pod: Object) -> bool:
    return bool(pod.get("spec", {}).get("nodeName")) or _pod_condition(pod, "PodScheduled").get("status") == "True"


def _is_evicted(pod: Object) -> bool:
    status = pod.get("status", {})
    disrupted = _pod_condition(pod, "DisruptionTarget").get("status") == "True"
    return disrupted or (status.get("phase") == "Failed" and status.get("reason") in ("Evicted", "Preempted"))


def _eviction(pod: Object) -> str:
    status, disruption = pod.get("status", {}), _pod_condition(pod, "DisruptionTarget")
    text = disruption.get("message") or status.get("message") or disruption.get("reason") or status.get("reason")
    return " ".join(str(text or "no reason is given").split())


def _why_unplaced(pod: Object) -> str:
    scheduled = _pod_condition(pod, "PodScheduled")
    return str(scheduled.get("message") or scheduled.get("reason") or "") if not _is_placed(pod) else ""


def _waiting(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return [waiting for each in containers if (waiting := each.get("state", {}).get("waiting"))]


def _waits_for(pod: Object) -> str:
    if pod.get("status", {}).get("phase", "Pending") != "Pending":
        return ""
    return next((f"{_name(pod)}: {each['reason']}" for each in _waiting(pod) if each.get("reason")), "")


def _is_node_zero(metadata: Object) -> bool:
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if "training.kubeflow.org/replica-type" in labels:
        return str(labels["training.kubeflow.org/replica-type"]).lower() == "master"
    index = "batch.kubernetes.io/job-completion-index"
    return (labels.get(index) or annotations.get(index)) == "0"
