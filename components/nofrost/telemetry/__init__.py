"""Progress of long work: for people, in structured logs, as metrics, and to a training operator that asks for it."""

from nofrost.telemetry.display import progress
from nofrost.telemetry.work import Progress

__all__ = ["Progress", "progress"]
