"""The trainings of a study as dvc.yaml reads them, which has no other way to tell where one starts from another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from nofrost.config.base import Name, OmitEmpty, Seed, Settings

DATASET = "data/dataset"
_START = r"runs/([^/]+)/seed-\d+/train"  # as `run_path` makes it


def run_path(recipe: str, seed: int | str, stage: str) -> str:
    """Return the path of an output of a run in a checkout."""
    return f"runs/{recipe}/seed-{seed}/{stage}"


class TrainingOptions(OmitEmpty, Settings):
    """Options of `nofrost train`; `start` is null where all phases are trained."""

    recipe: Name
    seed: Seed
    start: str | None = None


class PlannedTraining(Settings):
    """A training, and what it `needs` first: the dataset, or the training that it starts from."""

    options: TrainingOptions
    needs: str = DATASET


def starts_in(trainings: Mapping[str, PlannedTraining], recipes: Iterable[str]) -> dict[str, str]:
    """Return which of these recipes starts from which other one, as a file says.

    Raises:
        ValueError: they start from one another in a circle.
    """
    found, recipes = {}, set(recipes)
    for training in trainings.values():
        named = re.fullmatch(_START, training.options.start or "")
        if named and {named[1], training.options.recipe} <= recipes:
            found[training.options.recipe] = named[1]
    try:
        TopologicalSorter({name: [first] for name, first in found.items()}).prepare()
    except CycleError as error:
        circle = " that starts from ".join(reversed(error.args[1]))
        raise ValueError(
            f"a circle of starts, {circle}: delete the key trainings, which `nofrost study select FILE` works out anew"
        ) from None
    return found


def trainings_of(
    recipes: Iterable[str], seeds: Iterable[int], starts: Mapping[str, str] | None = None
) -> dict[str, PlannedTraining]:
    """Return the training of each recipe with each seed by its name.

    Args:
        starts: the recipe that another one starts from.
    """
    seeds, found = tuple(seeds), {}
    for recipe in recipes:
        for seed in seeds:
            first = (starts or {}).get(recipe)
            start = run_path(first, seed, "train") if first else None
            options = TrainingOptions(recipe=recipe, seed=seed, start=start)
            found[f"{recipe}-{seed}"] = PlannedTraining(options=options, needs=start or DATASET)
    return found
