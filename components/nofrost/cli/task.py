"""`nofrost task`: what containers run that Kubeflow does not call from Python."""

from __future__ import annotations

from pathlib import Path

import click

from nofrost.cli.options import FOLDER


@click.group()
def task() -> None:
    """Run a task of the pipeline: fetch its inputs by ref, run the stage, push the output.

    Containers call this; the stages themselves, which work on folders, are `nofrost train` and the like.
    """


@task.command("train")
@click.option("--recipe", required=True, help="The recipe as JSON.")
@click.option("--recipe-id", required=True, help="Name of the recipe.")
@click.option("--seed", required=True, help="Seed of everything random.")
@click.option("--dataset", required=True, metavar="PATH@REF", help="The dataset.")
@click.option("--augmentation", required=True, metavar="PATH@REF", help="The augmentation sets.")
@click.option("--store", required=True, metavar="URL", help="Where refs are fetched from and pushed to.")
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="GPUs that there must be; several share every batch.",
)
@click.option("--output-file", type=FOLDER, required=True, help="File that takes the output, PATH@REF.")
def task_train(
    recipe: str, recipe_id: str, seed: str, dataset: str, augmentation: str, store: str, gpus: int, output_file: Path
) -> None:
    """Train one run and write its output (PATH@REF) to a file.

    Stopped and started again with the same options, here or elsewhere, it goes on from the last save in the store.
    """
    from nofrost import tasks
    from nofrost.files import write_text

    write_text(output_file, tasks.train(recipe, recipe_id, seed, dataset, augmentation, store, gpus))
