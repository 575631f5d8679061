"""`nofrost study plan`: what a study costs before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nofrost.cli.options import PATH, FiniteFloatRange, aligned, emit, json_option, set_option, size_option

if TYPE_CHECKING:
    from nofrost.study_cost import Images, Passes, StudyCost

HEAD = (
    "recipe",
    "dataset",
    "starts from",
    "epochs",
    "training passes",
    "evaluation passes",
    "minutes here",
    "GPU hours",
)


@click.command("plan")
@click.argument("name")
@set_option
@json_option
@size_option
@click.option(
    "--dataset",
    type=PATH,
    help="Output of `nofrost prepare` for the dataset of the study. Default: the published numbers of images.",
)
@click.option(
    "--teraflops",
    type=FiniteFloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Floating-point operations that a GPU really does in a second, in 10^12; for the hours on it.",
)
def study_plan(
    name: str, overrides: tuple[str, ...], as_json: bool, size: str | None, dataset: Path | None, teraflops: float
) -> None:
    """Print what the study NAME (shipped, or a YAML file) costs: trainings, passes, minutes here, hours on a GPU.

    A pass is an image that goes through the model, or its gradient on the way back. They are counted with tiny
    networks; what one takes is measured here, with the networks of the study. What is no pass (reading, corrupting,
    properties of the models) is left out, and so are further test sets. Attacks are counted to their end, though they
    spare images that are wrong already.

    Example: nofrost study plan digits --set 'runs.seed=[0, 1, 2]'
    """
    from nofrost.config import load_study
    from nofrost.data import read_manifest
    from nofrost.study_cost import study_cost
    from nofrost.tasks import check_study

    study = check_study(load_study(name, overrides, size), name, overrides)
    cost = study_cost(study, read_manifest(dataset) if dataset else None, teraflops)
    emit(cost.as_json(), _table(cost), as_json)


def _table(cost: StudyCost) -> str:
    rows = [
        (
            run.recipe,
            *([run.dataset or "dataset"] if cost.further else []),
            run.start,
            str(run.epochs),
            _count(run.training),
            ", ".join(f"{_count(passes)} ({name})" for name, passes in run.evaluation.items()),
            f"{run.minutes:.1f}",
            f"{run.gpu_hours:.2g}",
        )
        for run in cost.runs
    ]
    seeds = "1 seed" if cost.seeds == 1 else f"{cost.seeds} seeds"
    trainings = "1 training" if cost.trainings == 1 else f"{cost.trainings} trainings"
    total = (
        f"{trainings} with {seeds}: {cost.minutes:.1f} minutes here, one after the other; "
        f"{cost.gpu_hours:.2g} hours on a GPU at {cost.teraflops:g} TFLOP/s"
    )
    datasets = "\n".join([_images(cost.images), *(f"{name}: {_images(each)}" for name, each in cost.further.items())])
    head = HEAD if cost.further else [title for title in HEAD if title != "dataset"]
    return f"{datasets}; each run with one seed\n\n{aligned([head, *rows])}\n\n{total}"


def _images(images: Images) -> str:
    data = f"{images.train:,} training, {images.selection:,} selection and {images.test:,} test images"
    return f"{data} of {images.size[0]} x {images.size[1]} pixels"


def _count(passes: Passes) -> str:
    """Return a number of passes in three digits."""
    number = passes.forward + passes.backward
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
