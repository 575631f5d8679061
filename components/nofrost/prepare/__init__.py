"""Stage prepare: one of the named sources becomes one dataset with a manifest."""

from nofrost.prepare.stage import run

__all__ = ["run"]
