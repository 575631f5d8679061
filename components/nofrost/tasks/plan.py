"""The plan of a study: the part of its configuration that each stage depends on, and the items of the loops."""

from __future__ import annotations

import json
from typing import NamedTuple

from nofrost.config import Study, load_study, parse_study
from nofrost.errors import UserError
from nofrost.tasks.local_processes import exit_on_error
from nofrost.tasks.workspace import is_ref
from nofrost.train import check_methods


class StudyPlan(NamedTuple):
    """The configuration of each stage as JSON text, so that a stage runs again only when its own changes."""

    dataset: str
    augmentation: str
    adversarial: str
    ood: str
    on_gpu: bool


@exit_on_error
def plan(study: str, gpus: int, nodes: int) -> StudyPlan:
    """Check the study and split it into what each stage depends on.

    Args:
        study: name of a shipped study, or a study spelled out as YAML.
        gpus: GPUs for each training, 0 or 1; evaluations take the same.
        nodes: machines for each training, 1.

    Raises:
        UserError: the study is wrong, or training cannot use so many GPUs or nodes.
    """
    if gpus not in (0, 1) or nodes != 1:
        raise UserError(
            f"gpus {gpus} and nodes {nodes}: use gpus 0 or 1 and nodes 1 (evaluations get as many GPUs as trainings "
            "and use one), or train on several GPUs of one machine with `nofrost task train --gpus N`"
        )
    config = parse_or_load_study(study)
    check_methods(config, config.name)
    if config.augmentation.deepaugment.weights is not None and "deepaugment" in config.augmentation.methods:
        raise UserError(
            "augmentation.deepaugment.weights is a file of one machine, which containers do not have: leave it "
            "out to train the network in the pipeline"
        )
    for name, recipe in config.recipes.items():
        if recipe.model.weights is not None and not is_ref(recipe.model.weights):
            raise UserError(
                f"recipes.{name}.model.weights is a file of one machine, which containers do not have: store it "
                "with `nofrost store push` and use the ref that it prints"
            )
    return StudyPlan(
        dataset=json.dumps(config.dataset.as_json()),
        augmentation=json.dumps(config.augmentation.as_json()),
        adversarial=json.dumps(config.suites.adversarial.as_json()),
        ood=json.dumps(config.suites.ood.as_json()),
        on_gpu=gpus > 0,
    )


@exit_on_error
def plan_runs(study: str) -> list[dict[str, str]]:
    """Return every run of the study: recipe name, seed and the recipe as JSON, all as text.

    Kubeflow turns integers inside such items into floats, and reserves the key `name`.
    """
    config = parse_or_load_study(study)
    return [
        {"recipe_id": name, "seed": str(seed), "recipe": json.dumps(config.recipes[name].as_json())}
        for name in config.runs.recipe
        for seed in config.runs.seed
    ]


@exit_on_error
def plan_shards(shards: int) -> list[str]:
    """Return the shards of every evaluation: ``0/n`` to ``n-1/n``.

    Raises:
        UserError: `shards` is less than 1.
    """
    if shards < 1:
        raise UserError(f"shards {shards}: must be at least 1")
    return [f"{index}/{shards}" for index in range(shards)]


def parse_or_load_study(text: str) -> Study:
    """Return the study that `text` names or spells out as YAML.

    Raises:
        UserError: there is no such study, or a key or value is wrong.
    """
    return parse_study(text) if "\n" in text or ":" in text else load_study(text)
