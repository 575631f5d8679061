"""Stage train: one recipe and seed to a checkpoint."""

from nofrost.train.objectives import check_methods, list_objectives
from nofrost.train.stage import run

__all__ = ["check_methods", "list_objectives", "run"]
