"""What else Kubernetes knows of a job that does not run: sentences of queues and events.

None of it is worth an error: where the server refuses, or does not answer, nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.kinds import KUEUE, NODE
from nofrost.cluster.launcher.state import condition, time_of

# Whose events tell what keeps a job from its pods; those of its PodGroup, of the same name, tell why it waits.
_OF_JOBS = ("PyTorchJob", "TrainJob", "JobSet", "Job")
_GANG_S = 300


def queue_reason(api: KubernetesApi, uid: str) -> str:
    """Return what Kueue says of a job that it holds back, or has evicted; "" if it says nothing."""
    with suppress(KubernetesError):
        group = api.request("GET", f"/apis/{KUEUE}")
        version = group.get("preferredVersion", {}).get("version", "")
        path = f"/apis/{KUEUE}/{version}/namespaces/{api.namespace}/workloads"
        page = api.request("GET", path, {"labelSelector": f"{KUEUE}/job-uid={uid}"})
        for workload in page.get("items", ()):
            waits = [
                str(each.get("message", ""))
                for each in workload.get("status", {}).get("conditions") or ()
                if each.get("type") == "QuotaReserved" and each.get("status") == "False"
            ]
            evicted = condition(workload, "Evicted") or {}
            return "; ".join(filter(None, (str(evicted.get("message", "")), *waits)))
    return ""


def warnings(api: KubernetesApi, job: Mapping[str, Any], since: datetime) -> list[str]:
    """Return the warnings since a time about a job and what its operator makes of it, each once, the oldest first.

    They are of the job itself, of the JobSet, which has its name, and of the Job of its nodes.
    """
    name, found = job["metadata"]["name"], []
    for each in (name, f"{name}-{NODE}-0"):
        found += [event for event in _warnings_of(api, each) if _kind(event) in _OF_JOBS]
    # Times have whole seconds.
    dated = [(_time(event), event) for event in found]
    recent = sorted((when, _sentence(event)) for when, event in dated if when >= since - timedelta(seconds=1))
    return list(dict.fromkeys(text for _, text in recent))


def gang_reason(api: KubernetesApi, job: Mapping[str, Any]) -> str:
    """Return why a scheduler holds back all pods of a job until there is room for them; "" if it does not say so.

    With Volcano the training operator makes no pod before that. It says so again and again as long as it lasts.
    """
    groups = [event for event in _warnings_of(api, job["metadata"]["name"]) if _kind(event) == "PodGroup"]
    oldest = api.now() - timedelta(seconds=_GANG_S)
    recent = sorted((_time(event), _sentence(event)) for event in groups if _time(event) >= oldest)
    return recent[-1][1] if recent else ""


def _warnings_of(api: KubernetesApi, name: str) -> list[dict[str, Any]]:
    with suppress(KubernetesError):
        query = {"fieldSelector": f"involvedObject.name={name},type=Warning"}
        return list(api.request("GET", f"/api/v1/namespaces/{api.namespace}/events", query).get("items", ()))
    return []


def _kind(event: Mapping[str, Any]) -> str:
    return str((event.get("involvedObject") or {}).get("kind", ""))


def _time(event: Mapping[str, Any]) -> datetime:
    series = event.get("series") or {}
    stamps = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return time_of(next(filter(None, stamps), event.get("metadata", {}).get("creationTimestamp")))


def _sentence(event: Mapping[str, Any]) -> str:
    message = " ".join(str(event.get("message", "")).split())
    return f"{event.get('reason', 'Warning')}: {message}"
