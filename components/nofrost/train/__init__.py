"""Stage train: one recipe and seed to a checkpoint."""

from nofrost.train.stage import run

__all__ = ["run"]
