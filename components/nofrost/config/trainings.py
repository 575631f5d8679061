"""What follows from the runs of a study, as dvc.yaml reads it: where trainings start, and what is on which dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from pydantic import Field

from nofrost.config.base import Name, OmitEmpty, Seed, Settings

DATASET = "data/dataset"
AUGMENTATION = "data/augmentation"
_START = r"runs/([^/]+)/seed-\d+/train"  # as `run_path` makes it


def dataset_path(name: str) -> str:
    """Return the path of a dataset in a checkout; the dataset of the study has an empty name."""
    return f"data/datasets/{name}" if name else DATASET


def dataset_name(path: str) -> str:
    """Return the name of the dataset at this path in a checkout, as in :func:`dataset_path`."""
    folder = "data/datasets/"
    return path.removeprefix(folder) if path.startswith(folder) else ""


def augmentation_path(name: str) -> str:
    """Return the path of the augmentation sets of a dataset in a checkout; the name as in :func:`dataset_path`."""
    return f"data/augmentations/{name}" if name else AUGMENTATION


def run_path(recipe: str, seed: int | str, stage: str) -> str:
    """Return the path of an output of a run in a checkout."""
    return f"runs/{recipe}/seed-{seed}/{stage}"


class TrainingOptions(OmitEmpty, Settings):
    """Options of `nofrost train`; `start` is null where all phases are trained."""

    recipe: Name
    seed: Seed
    start: str | None = None


class PlannedTraining(OmitEmpty, Settings):
    """A training, and what it `needs` first: its dataset, or the training that it starts from.

    The `dataset` is the name of a further one; null for that of the study.
    """

    options: TrainingOptions
    needs: str = DATASET
    dataset: Name | None = None


class PlannedEvaluation(Settings):
    """An evaluation with a suite of a run that is trained on a further dataset."""

    recipe: Name
    seed: Seed
    suite: Name
    dataset: Name


class FurtherStages(OmitEmpty, Settings):
    """The trainings on further datasets and their evaluations with adversarial and ood suites, by their names."""

    trainings: dict[str, PlannedTraining] = Field(default={})
    adversarial: dict[str, PlannedEvaluation] = Field(default={})
    ood: dict[str, PlannedEvaluation] = Field(default={})


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
    recipes: Iterable[str], seeds: Iterable[int], starts: Mapping[str, str] | None = None, dataset: str = ""
) -> dict[str, PlannedTraining]:
    """Return the training of each recipe with each seed by its name.

    Args:
        starts: the recipe that another one starts from.
        dataset: the name of that which all of them are on; empty for the dataset of the study.
    """
    seeds, found = tuple(seeds), {}
    for recipe in recipes:
        for seed in seeds:
            first = (starts or {}).get(recipe)
            start = run_path(first, seed, "train") if first else None
            options = TrainingOptions(recipe=recipe, seed=seed, start=start)
            needs = start or dataset_path(dataset)
            found[f"{recipe}-{seed}"] = PlannedTraining(options=options, needs=needs, dataset=dataset or None)
    return found


def further_stages(
    recipes_by_dataset: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    adversarial: Iterable[str],
    ood: Iterable[str],
    starts: Mapping[str, str] | None = None,
) -> FurtherStages:
    """Return the trainings and evaluations on further datasets.

    Args:
        recipes_by_dataset: of each further dataset.
        adversarial, ood: the names of the suites of each kind.
        starts: as in :func:`trainings_of`.
    """
    trainings: dict[str, PlannedTraining] = {}
    for name, recipes in recipes_by_dataset.items():
        trainings |= trainings_of(recipes, seeds, starts, name)

    def evaluations(suites: Iterable[str]) -> dict[str, PlannedEvaluation]:
        suites = tuple(suites)
        return {
            f"{recipe}-{seed}-{suite}": PlannedEvaluation(recipe=recipe, seed=seed, suite=suite, dataset=name)
            for name, recipes in recipes_by_dataset.items()
            for recipe in recipes
            for seed in seeds
            for suite in suites
        }

    return FurtherStages(trainings=trainings, adversarial=evaluations(adversarial), ood=evaluations(ood))
