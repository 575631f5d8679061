"""The objectives by name."""

from __future__ import annotations

from nofrost.registry import Registry
from nofrost.train.objectives.base import Objective

OBJECTIVES: Registry[Objective] = Registry("objective")
register = OBJECTIVES.register
objective_names = OBJECTIVES.names
objective_settings = OBJECTIVES.settings
create_objective = OBJECTIVES.create
