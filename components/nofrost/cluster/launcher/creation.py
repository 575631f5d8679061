"""A job that is created, or adopted where one of the same specification is there already."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.job.spec import SPEC_ANNOTATION
from nofrost.cluster.launcher.job_ends import JobEndedError
from nofrost.cluster.launcher.state import condition
from nofrost.errors import UserError, say


def create_or_adopt(
    api: KubernetesApi,
    kind: JobKind,
    job: Mapping[str, Any],
    *,
    save_log: Callable[[], object],
    deletion_s: float,
    interval_s: float,
    asked: threading.Event,
) -> dict[str, Any]:
    """Create a job, or adopt the one of the same name and specification; return it as the server has it.

    An adopted job gets the owner and the labels of this one. One that has failed is deleted first, and one that is
    being deleted is waited for, with its pods.

    Args:
        job: the body of the request, with the annotation ``nofrost/spec``.
        save_log: is called before a job is deleted.
        deletion_s: seconds that a deletion may take.
        interval_s: between two looks at it.
        asked: set while a request that makes the job is under way.

    Raises:
        UserError: there is one of another specification, or the server does not accept the job.
        JobEndedError: a deletion does not end, or a quota is used up.
        KubernetesError: the server does not answer.
    """
    path, name = kind.path(api.namespace), job["metadata"]["name"]
    while True:
        asked.set()
        try:
            found, is_new = api.create(path, job)
            asked.clear()
        except KubernetesError as error:
            asked.clear()
            if error.status != 409:
                raise _explained(error, kind, name, api.namespace) from None
            try:
                found, is_new = api.get(f"{path}/{name}"), False
            except KubernetesError as gone:
                if gone.status != 404:
                    raise
                continue
        if is_new:
            say(f"{kind.kind} {name} is created in namespace {api.namespace}")
            return found
        metadata = found["metadata"]
        if not metadata.get("deletionTimestamp"):
            _check_specification(found, job, kind, api.namespace)
            if not condition(found, "Failed"):
                adopted = _adopt(api, f"{path}/{name}", metadata["uid"], job)
                if adopted is not None:
                    say(f"{kind.kind} {name} of the same specification is there already, and is followed")
                    return adopted
                continue
            say(f"{kind.kind} {name} has failed before: it is deleted, and started again")
            save_log()
            api.delete(f"{path}/{name}", metadata["uid"])
        await_deletion(api, kind, name, metadata["uid"], deletion_s, interval_s)


def await_deletion(
    api: KubernetesApi, kind: JobKind, name: str, uid: str, deletion_s: float, interval_s: float
) -> None:
    """Wait until a job and all of its pods are gone, or there is another one of its name.

    Raises:
        JobEndedError: they are there after `deletion_s`.
    """
    end = time.monotonic() + deletion_s
    while True:
        there = _uid(api, f"{kind.path(api.namespace)}/{name}")
        # The pods are those of the next job, which another launcher has made.
        if there not in ("", uid):
            return
        if not there and not api.items(api.pods_path, labelSelector=kind.selector(name)):
            return
        if time.monotonic() > end:
            raise JobEndedError(
                f"{kind.kind} {name} of an earlier run is still being deleted after {deletion_s:.0f} s: look at "
                f"kubectl describe {kind.plural}.{kind.group},pods --namespace {api.namespace}, and submit again"
            )
        time.sleep(interval_s)


def _uid(api: KubernetesApi, path: str) -> str:
    """Return the uid of an object; "" if there is none."""
    try:
        return str(api.get(path)["metadata"]["uid"])
    except KubernetesError as error:
        if error.status != 404:
            raise
        return ""


def _check_specification(found: Mapping[str, Any], job: Mapping[str, Any], kind: JobKind, namespace: str) -> None:
    name, wanted = job["metadata"]["name"], job["metadata"]["annotations"][SPEC_ANNOTATION]
    has = found["metadata"].get("annotations", {}).get(SPEC_ANNOTATION)
    if has != wanted:
        raise UserError(
            f"{kind.kind} {name} is there already with another specification ({str(has)[:12]}, not {wanted[:12]}): if "
            f"no one needs it, run kubectl delete {kind.plural}.{kind.group} {name} --namespace {namespace}, and "
            "submit again"
        )


def _adopt(api: KubernetesApi, path: str, uid: str, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give a job the owner and labels of `job`; None if it is gone, or another one, by now."""
    metadata = job["metadata"]
    owners = metadata.get("ownerReferences", [])
    # With its uid, another job of this name is not changed.
    change = {"uid": uid, "labels": metadata.get("labels", {}), "ownerReferences": owners}
    try:
        return api.patch(path, {"metadata": change})
    except KubernetesError as error:
        # A uid cannot be changed: it is refused as invalid where the job was deleted and made again.
        if error.status == 422 and _uid(api, path) == uid:
            raise
        if error.status not in (404, 409, 422):
            raise
        return None


def _explained(error: KubernetesError, kind: JobKind, name: str, namespace: str) -> Exception:
    """Return what a refused creation means."""
    what = f"Kubernetes refuses {kind.kind} {name} in namespace {namespace} ({error.status}: {error.detail})"
    if error.status == 403 and "exceeded quota" in error.detail:
        return JobEndedError(f"{what}: wait until others have ended, or ask for a larger quota, and submit again")
    if error.is_denied:
        return UserError(f"{what}: let the service account of this pod create and follow {kind.plural}.{kind.group}")
    if error.status == 404:
        return UserError(f"{what}: install what knows {kind.plural}.{kind.group}, or choose another backend")
    if 400 <= error.status < 500 and not error.is_transient:
        return UserError(f"{what}: correct the settings of the training job")
    return error
