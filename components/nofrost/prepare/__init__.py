"""Stage prepare: turn a source of images into a dataset with a manifest."""

from nofrost.prepare.sources import list_sources, resolve_source
from nofrost.prepare.stage import run

__all__ = ["list_sources", "resolve_source", "run"]
