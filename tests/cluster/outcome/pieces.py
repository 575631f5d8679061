"""The log of a job as its pieces have it."""

from __future__ import annotations

from nofrost.cluster.outcome.log_lines import text_of
from nofrost.cluster.outcome.stored_log import log_prefix
from nofrost.store import Store


def stored_lines(store: Store, job: str) -> list[str]:
    """Return the lines of all pieces in their order, without their times; what two have written stands there twice."""
    lines = (line for name in sorted(store.objects(log_prefix(job))) for line in store.get(name).split(b"\n"))
    return [text_of(line) for line in lines if line and not line.startswith(b"# pod ")]
