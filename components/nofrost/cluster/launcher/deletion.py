"""A job is deleted only as long as it belongs to whoever deletes it: another launcher may have adopted it meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.identity import RUN_LABEL

# A status that changes between the two requests makes the second one fail.
_MOST_TRIES = 10


def belongs_to(found: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    """Return whether a job has run and owner of another description of it."""
    return _belonging(found) == _belonging(job)


def delete_owned(api: KubernetesApi, path: str, is_owned: Callable[[Mapping[str, Any]], bool]) -> bool | None:
    """Delete a job if it is owned, and has not changed since it was looked at.

    Returns:
        Whether it is owned; None if there is none.

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
        if not is_owned(found):
            return False
        metadata = found["metadata"]
        if api.delete_once(path, metadata["uid"], metadata["resourceVersion"]):
            return True
    raise KubernetesError(f"to delete {path}", 409, "it changes all the time")


def _belonging(job: Mapping[str, Any]) -> tuple[str, set[str]]:
    metadata = job["metadata"]
    run = (metadata.get("labels") or {}).get(RUN_LABEL, "")
    return run, {owner["uid"] for owner in metadata.get("ownerReferences") or ()}
