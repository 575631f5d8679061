"""Stage prepare: one of the named sources becomes one dataset with a manifest."""

from nofrost.prepare.sources import list_sources, resolve_source
from nofrost.prepare.stage import run

__all__ = ["list_sources", "resolve_source", "run"]
