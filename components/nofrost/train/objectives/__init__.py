"""Training losses by name, one family a file. docs/architecture.md says how to add one; its file is imported here."""

# ruff: noqa: F401  importing an objective registers it
import nofrost.train.objectives.centroids
import nofrost.train.objectives.consistency
import nofrost.train.objectives.friendly
import nofrost.train.objectives.multi_view
import nofrost.train.objectives.single_step
import nofrost.train.objectives.standard
import nofrost.train.objectives.trades
from nofrost.train.objectives.base import (
    Adversary,
    Batch,
    Clock,
    Losses,
    Objective,
    check_methods,
    create_objective,
    list_objectives,
    objective_settings,
    register,
)

__all__ = [
    "Adversary",
    "Batch",
    "Clock",
    "Losses",
    "Objective",
    "check_methods",
    "create_objective",
    "list_objectives",
    "objective_settings",
    "register",
]
