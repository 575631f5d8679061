"""The objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from nofrost.errors import unknown
from nofrost.train.objectives.base import Objective

_OBJECTIVES: dict[str, type[Objective]] = {}
_ObjectiveClass = TypeVar("_ObjectiveClass", bound=type[Objective])


def register(name: str) -> Callable[[_ObjectiveClass], _ObjectiveClass]:
    """Make a frozen dataclass of objectives known under `name`; its fields are the settings a user may give."""

    def enter(objective: _ObjectiveClass) -> _ObjectiveClass:
        if name in _OBJECTIVES:
            raise ValueError(f"objective {name!r} is registered twice")
        objective.name = name
        _OBJECTIVES[name] = objective
        return objective

    return enter


def objective_names() -> list[str]:
    """Return the names that `create_objective` knows, sorted."""
    return sorted(_OBJECTIVES)


def objective_settings(name: str) -> dict[str, Any]:
    """Return the settings of the objective called `name` with their defaults.

    Raises:
        UserError: there is no such objective.
    """
    if name not in _OBJECTIVES:
        raise unknown("objective", name, _OBJECTIVES)
    return {field.name: field.default for field in fields(_OBJECTIVES[name])}


def create_objective(name: str, **settings: Any) -> Objective:
    """Return the objective called `name`.

    Args:
        name: one of `objective_names`.
        settings: its own settings; those left out have their defaults.

    Raises:
        UserError: there is no such objective, or it has no such setting.
    """
    known = objective_settings(name)
    for setting in settings:
        if setting not in known:
            raise unknown(f"setting of objective {name!r}", setting, known)
    return _OBJECTIVES[name](**settings)
