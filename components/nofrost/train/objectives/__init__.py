"""Training losses by name, one a file. To add one: a file like those here, imported below so that it is known."""

from nofrost.train.objectives.alp import AdversarialLogitPairing
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.fast import FastAdversarialTraining
from nofrost.train.objectives.fat import FriendlyAdversarialTraining
from nofrost.train.objectives.free import FreeAdversarialTraining
from nofrost.train.objectives.mbnat import MixtureAdversarialTraining
from nofrost.train.objectives.multi_view import MultiView
from nofrost.train.objectives.pgdat import AdversarialTraining
from nofrost.train.objectives.registry import (
    check_methods,
    create_objective,
    objective_names,
    objective_settings,
    register,
)
from nofrost.train.objectives.sat import StandardAdversarialTraining
from nofrost.train.objectives.st import StandardTraining
from nofrost.train.objectives.trades import Trades
from nofrost.train.objectives.trades_fat import FriendlyTrades

__all__ = [
    "AdversarialLogitPairing",
    "AdversarialTraining",
    "Adversary",
    "Batch",
    "FastAdversarialTraining",
    "FreeAdversarialTraining",
    "FriendlyAdversarialTraining",
    "FriendlyTrades",
    "Losses",
    "MixtureAdversarialTraining",
    "MultiView",
    "Objective",
    "StandardAdversarialTraining",
    "StandardTraining",
    "Trades",
    "check_methods",
    "count_correct",
    "create_objective",
    "objective_names",
    "objective_settings",
    "register",
]
