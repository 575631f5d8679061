"""A job is deleted only as long as it belongs to whoever deletes it: another launcher may have adopted it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.spec import SPEC_ANNOTATION
from nofrost.errors import remark, say

Object = Mapping[str, Any]
# A status that changes between the two requests makes the second one fail.
_MOST_TRIES = 10
# After which a job is looked for that a request without an answer may still make: admission takes its time.
_LATE_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)


def delete_if_ours(api: KubernetesApi, path: str, job: Object, uid: str) -> bool:
    """Delete a job if run and owner are still those of `job`; return whether they were, or it is gone.

    Raises:
        KubernetesError: the server refuses, or does not answer for long.
    """

    def is_ours(found: Object) -> bool:
        return bool(found["metadata"]["uid"] == uid) and _belonging(found) == _belonging(job)

    return api.with_retries(lambda: _delete(api, path, is_ours)) is not False


def delete_at_the_end(api: KubernetesApi, path: str, job: Object, uid: str) -> None:
    """Delete a job that has ended; what prevents that is said."""
    try:
        if not delete_if_ours(api, path, job, uid):
            say(f"{job['metadata']['name']} is left to the launcher that has adopted it")
    except KubernetesError as error:
        _say_left(path, error)


def delete_at_once(api: KubernetesApi, path: str, job: Object, uid: str, *, may_come: bool) -> None:
    """Delete a job on connections that are open, as this process has no time; what prevents that is said.

    Args:
        uid: of the job; "" if there is none as far as is known.
        may_come: whether a request whose answer was not read may make it later.
    """

    def is_ours(found: Object) -> bool:
        has = (found["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION)
        return bool(has == job["metadata"]["annotations"][SPEC_ANNOTATION]) and _belonging(found) == _belonging(job)

    try:
        for pause_s in _LATE_S if may_come else (0.0,):
            time.sleep(pause_s)
            if _delete(api, path, is_ours) is not None:
                return
        if may_come:
            _say_left(path, KubernetesError(f"to create {path}", 0, "stopped before the answer"))
    except KubernetesError as error:
        # A broken connection is replaced by a new one.
        if not error.status and uid:
            with suppress(KubernetesError):
                api.delete_once(path, uid)
                return
        _say_left(path, error)


def _delete(api: KubernetesApi, path: str, is_ours: Callable[[Object], bool]) -> bool | None:
    """Delete a job if it is ours, and has not changed since it was looked at.

    Returns:
        Whether it is ours; None if there is none.

    Raises:
        KubernetesError: the server refuses, or does not answer; no request is repeated for that.
    """
    for _ in range(_MOST_TRIES):
        try:
            found = api.request("GET", path)
        except KubernetesError as error:
            if not error.is_missing:
                raise
            return None
        if not is_ours(found):
            return False
        metadata = found["metadata"]
        if api.delete_once(path, metadata["uid"], metadata["resourceVersion"]):
            return True
    raise KubernetesError(f"to delete {path}", 409, "it changes all the time")


def _belonging(job: Object) -> tuple[str, set[str]]:
    """Return the run and the owners of a job: those of the launcher that made or adopted it last."""
    metadata = job["metadata"]
    run = (metadata.get("labels") or {}).get(RUN_LABEL, "")
    return run, {owner["uid"] for owner in metadata.get("ownerReferences") or ()}


def _say_left(path: str, error: KubernetesError) -> None:
    namespace, plural, name = path.split("/")[-3:]
    remark(f"the job may be left ({error}): run kubectl delete {plural} {name} --namespace {namespace}")
