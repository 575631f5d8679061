"""The objectives by name."""

from __future__ import annotations

from collections.abc import Sequence

from nofrost.attacks.base import ATTACKS
from nofrost.config import AttackSpec, ObjectiveSpec
from nofrost.config.base import Schema
from nofrost.registry import Registry, check_settings
from nofrost.train.objectives.base import Objective

OBJECTIVES: Registry[Objective] = Registry("objective")
register = OBJECTIVES.register
objective_names = OBJECTIVES.names
objective_settings = OBJECTIVES.settings
create_objective = OBJECTIVES.create


def check_methods(config: Schema, origin: str, overrides: Sequence[str] = ()) -> None:
    """Check the name and settings of every attack and objective in a configuration, wherever it stands there.

    Args:
        config: a recipe, suite or study.
        origin: its file, for the error.
        overrides: texts `key=value` on top of the file; the one that made the fault is named too.

    Raises:
        UserError: one is wrong; the sentence names file, key and the settings that the attack or objective has.
    """
    check_settings(config, {AttackSpec: ATTACKS, ObjectiveSpec: OBJECTIVES}, origin, overrides)
