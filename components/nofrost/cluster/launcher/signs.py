"""What launchers note at a job for those that come after them: when it was followed last, and how long it has worked.

Neither is in its status: a reaper must not take a job whose launcher has just died for one that no one follows, and the
deadline is one of work, of which the time in queues is no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nofrost.cluster.launcher.state import allowed_since, is_suspended, passed_s, time_of

_SEEN, _WORKED = "nofrost/seen", "nofrost/worked-s"


def signs(worked_s: float, now: datetime, *, has_run: bool) -> dict[str, str]:
    """Return the annotations of a job that is followed at this moment and has worked for that many seconds."""
    worked = max(worked_s, float(has_run))
    return {_SEEN: now.isoformat(timespec="seconds"), _WORKED: f"{worked:.0f}"}


def seen(job: Mapping[str, Any]) -> datetime:
    """Return when a job was last known to be followed; its creation if nothing says that."""
    metadata = job["metadata"]
    return time_of((metadata.get("annotations") or {}).get(_SEEN) or metadata.get("creationTimestamp"))


def worked_s(job: Mapping[str, Any], now: datetime) -> float:
    """Return for how many seconds a job has worked, at most: since the last sign it may have waited as well.

    0 means that it has not run yet, as far as anything says.
    """
    text = (job["metadata"].get("annotations") or {}).get(_WORKED, "")
    before = float(text) if text.isdigit() else 0.0
    if is_suspended(job):
        return before
    if before:
        return before + passed_s(seen(job), now)
    conditions = job.get("status", {}).get("conditions") or ()
    return passed_s(allowed_since(job), now) if any(each.get("type") == "Running" for each in conditions) else 0.0
