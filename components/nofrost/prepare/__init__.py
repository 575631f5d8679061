"""Stage prepare: turn a source of images into a dataset with a manifest."""

from nofrost.prepare.sources import list_sources, resolve_source
from nofrost.prepare.stage import run
from nofrost.prepare.test_set_stage import resolve_test_set
from nofrost.prepare.test_set_stage import run as run_test_sets

__all__ = ["list_sources", "resolve_source", "resolve_test_set", "run", "run_test_sets"]
