"""Stage train: one recipe and seed to a checkpoint."""

from nofrost.train.objectives import check_methods, list_objectives
from nofrost.train.stage import STREAM_WINDOW, run
from nofrost.train.starts import find_starts

__all__ = ["STREAM_WINDOW", "check_methods", "find_starts", "list_objectives", "run"]
