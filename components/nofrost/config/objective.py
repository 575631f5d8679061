"""Objective: the training loss by name, with its settings."""

from __future__ import annotations

from nofrost.config.base import NamedSettings


class ObjectiveSpec(NamedSettings):
    """The training loss by name with its settings, those of its class in `nofrost.train.objectives` (`nofrost recipes
    list --objectives` prints them)."""
