"""What a study asks of the pipeline: the part of the configuration that each stage depends on, and the loops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from nofrost.augment import resolve_methods, spell_out
from nofrost.config import AugmentationSpec, Study, load_study, parse_study
from nofrost.errors import UserError
from nofrost.prepare import resolve_source
from nofrost.tasks.ending import exit_on_error
from nofrost.tasks.weights import is_ref
from nofrost.train import check_methods


class Plan(NamedTuple):
    """The configuration of each stage as JSON text, so that a stage runs again only when its own part changes."""

    dataset: str
    augmentation: str
    adversarial: str
    ood: str
    on_gpu: bool


@exit_on_error
def plan(study: str, gpus: int, nodes: int) -> Plan:
    """Check the study and cut it into what each stage depends on.

    Args:
        study: name of a shipped study, or a study spelled out as YAML.
        gpus: GPUs for each training, 0 or 1; evaluations take the same.
        nodes: machines for each training, 1.

    Raises:
        UserError: the study is wrong, or training cannot use so many GPUs or nodes.
    """
    if gpus not in (0, 1) or nodes != 1:
        raise UserError(
            f"gpus {gpus} and nodes {nodes}: a pipeline gives its evaluations as many GPUs as its trainings, and an "
            "evaluation uses one; a training uses several on one machine: use gpus 0 or 1 and nodes 1, or train with "
            "`nofrost task train --gpus N`"
        )
    parts = check_study(study_of(study))
    for name in parts.augmentation.methods:
        for setting in resolve_methods(parts.augmentation, parts.name, ("augmentation",))[name].files():
            raise UserError(
                f"augmentation.{name}.{setting} names a file of one machine, which a container does not have: leave it "
                "out"
            )
    for name, recipe in parts.recipes.items():
        if recipe.model.weights is not None and not is_ref(recipe.model.weights):
            raise UserError(
                f"recipes.{name}.model.weights names a file of one machine, which a container does not have: store it "
                "with `nofrost store push` and write the ref that this prints"
            )
    return Plan(
        dataset=json.dumps(parts.dataset.as_json()),
        augmentation=json.dumps(parts.augmentation.as_json()),
        adversarial=json.dumps(parts.suites.adversarial.as_json()),
        ood=json.dumps(parts.suites.ood.as_json()),
        on_gpu=gpus > 0,
    )


@exit_on_error
def plan_runs(study: str) -> list[dict[str, str]]:
    """Return every run of the study: recipe name, seed and the recipe as JSON, all as text.

    Kubeflow turns integers into floating-point numbers inside such items, and takes a key `name` for its own.
    """
    parts = study_of(study)
    return [
        {"recipe_id": name, "seed": str(seed), "recipe": json.dumps(parts.recipes[name].as_json())}
        for name in parts.runs.recipe
        for seed in parts.runs.seed
    ]


@exit_on_error
def plan_shards(shards: int) -> list[str]:
    """Return the shards that every evaluation is spread over: ``0/n`` to ``n-1/n``.

    Raises:
        UserError: `shards` is less than 1.
    """
    if shards < 1:
        raise UserError(f"shards {shards}: an evaluation has at least 1")
    return [f"{index}/{shards}" for index in range(shards)]


def check_study(study: Study, origin: str | None = None, overrides: Sequence[str] = ()) -> Study:
    """Return the study with the settings of its augmentation methods spelled out, once each part has been checked.

    The configuration alone does not know the settings of sources, augmentation methods, attacks and objectives: their
    owners do.

    Args:
        origin: its file, for the error; None for its name.
        overrides: texts `key=value` on top of the file; the one that made the fault is named too.

    Raises:
        UserError: a name, setting or value is wrong; the sentence names file, key and what is allowed.
    """
    origin = origin or study.name
    resolve_source(study.dataset, origin, ("dataset",), overrides)
    methods = resolve_methods(study.augmentation, origin, ("augmentation",), overrides)
    check_methods(study, origin, overrides)
    augmentation = AugmentationSpec.model_validate(spell_out(study.augmentation, methods))
    return study.model_copy(update={"augmentation": augmentation})


def study_of(text: str) -> Study:
    """Return the study that `text` names or spells out.

    Raises:
        UserError: there is no such study, or a key or value is wrong.
    """
    return parse_study(text) if "\n" in text or ":" in text else load_study(text)
