"""The plan of a study: the configuration of each stage, and the items of the pipeline's loops."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from nofrost.config import AugmentationSpec, Study, load_study, parse_study
from nofrost.config.base import Schema
from nofrost.errors import UserError
from nofrost.tasks.ascii_text import from_ascii, to_ascii
from nofrost.tasks.local_processes import exit_on_error
from nofrost.tasks.workspace import is_ref


class StudyPlan(NamedTuple):
    """The configuration of each stage as JSON in ASCII, so that a stage runs again only if its own part changes."""

    dataset: str
    augmentation: str
    adversarial: str
    ood: str
    on_gpu: bool


@exit_on_error
def plan(study: str, gpus: int, nodes: int) -> StudyPlan:
    """Check the study and split it into the configurations of the stages.

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
    from nofrost.augment import resolve_methods

    config = check_study(parse_or_load_study(study))
    methods = resolve_methods(config.augmentation, config.name, ("augmentation",))
    for name in config.augmentation.methods:
        for setting in methods[name].files():
            raise UserError(
                f"augmentation.{name}.{setting} is a file of one machine, which containers do not have: omit it"
            )
    for name, recipe in config.recipes.items():
        if recipe.model.weights is not None and not is_ref(recipe.model.weights):
            raise UserError(
                f"recipes.{name}.model.weights is a file of one machine, which containers do not have: store it "
                "with `nofrost store push` and use the ref that it prints"
            )
    return StudyPlan(
        dataset=_as_text(config.dataset),
        augmentation=_as_text(config.augmentation),
        adversarial=_as_text(config.suites.adversarial),
        ood=_as_text(config.suites.ood),
        on_gpu=gpus > 0,
    )


@exit_on_error
def plan_runs(study: str) -> list[dict[str, str]]:
    """Return every run of the study: recipe name, seed and the recipe as JSON, all as text.

    Kubeflow turns integers inside such items into floats, and reserves the key `name`.
    """
    config = parse_or_load_study(study)
    return [
        {"recipe_id": name, "seed": str(seed), "recipe": _as_text(config.recipes[name])}
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


def check_study(study: Study, origin: str | None = None, overrides: Sequence[str] = ()) -> Study:
    """Check each part of a study and return it with the settings of its augmentation methods spelled out.

    The schema alone does not know the settings of sources, augmentation methods, attacks and objectives; their
    classes do.

    Args:
        origin: its file, for the error; None for its name.
        overrides: texts `key=value` on top of the file; the message names the one at fault.

    Raises:
        UserError: a name, setting or value is wrong; the message names file, key and what is allowed.
    """
    # Only here: these load torch, which takes seconds that the small tasks of the pipeline do not need.
    from nofrost.augment import resolve_methods, spell_out
    from nofrost.prepare import resolve_source
    from nofrost.train import check_methods

    origin = origin or study.name
    resolve_source(study.dataset, origin, ("dataset",), overrides)
    methods = resolve_methods(study.augmentation, origin, ("augmentation",), overrides)
    check_methods(study, origin, overrides)
    augmentation = AugmentationSpec.model_validate(spell_out(study.augmentation, methods))
    return study.model_copy(update={"augmentation": augmentation})


def parse_or_load_study(text: str) -> Study:
    """Return the study whose name or YAML is `text`.

    Raises:
        UserError: there is no such study, or a key or value is wrong.
    """
    text = from_ascii(text)
    return parse_study(text) if "\n" in text or ":" in text else load_study(text)


def _as_text(part: Schema) -> str:
    """Return a part of a study as JSON in ASCII; :func:`from_ascii` comes before it is parsed."""
    return to_ascii(json.dumps(part.as_json(), ensure_ascii=False))
