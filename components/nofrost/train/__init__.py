"""Stage train: one recipe and seed to a checkpoint."""

from nofrost.train.objectives import check_methods, list_objectives
from nofrost.train.stage import STREAM_WINDOW, run

__all__ = ["STREAM_WINDOW", "check_methods", "list_objectives", "run"]
