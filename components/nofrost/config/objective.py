"""Objective: the training loss by name, with its settings."""

from nofrost.config.base import NamedSettings


class ObjectiveSpec(NamedSettings):
    """A training loss by name, with settings of its class in `nofrost.train.objectives`.

    `nofrost recipes list --objectives` prints them.
    """
