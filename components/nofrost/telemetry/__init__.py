"""Progress, as bars on a terminal and as plain lines elsewhere."""

from nofrost.telemetry.progress import Progress, progress

__all__ = ["Progress", "progress"]
