"""Progress of long work: on standard error for people, and to a training operator that asks for it."""

from nofrost.telemetry.display import Progress, progress

__all__ = ["Progress", "progress"]
