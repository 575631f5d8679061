"""Training losses by name, one a file. To add one: a file like those here, and its line below."""

from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.mbnat import MixtureAdversarialTraining
from nofrost.train.objectives.multi_view import MultiView
from nofrost.train.objectives.registry import create_objective, objective_names, objective_settings, register
from nofrost.train.objectives.sat import StandardAdversarialTraining
from nofrost.train.objectives.st import StandardTraining

__all__ = [
    "Adversary",
    "Batch",
    "Losses",
    "MixtureAdversarialTraining",
    "MultiView",
    "Objective",
    "StandardAdversarialTraining",
    "StandardTraining",
    "count_correct",
    "create_objective",
    "objective_names",
    "objective_settings",
    "register",
]
