"""Training losses by name. To add one: a file with a function like those here, and its line in `OBJECTIVES`."""

from nofrost.errors import unknown
from nofrost.train.objectives.base import Batch, Craft, Losses, Objective
from nofrost.train.objectives.mbnat import mbnat
from nofrost.train.objectives.sat import sat
from nofrost.train.objectives.sat_augmented import sat_augmented
from nofrost.train.objectives.st import st

OBJECTIVES: dict[str, Objective] = {"st": st, "sat": sat, "mbnat": mbnat, "sat-augmented": sat_augmented}


def get_objective(name: str) -> Objective:
    """Return the objective of this name.

    Raises:
        UserError: there is none; the sentence lists those that are known.
    """
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


__all__ = ["OBJECTIVES", "Batch", "Craft", "Losses", "Objective", "get_objective"]
