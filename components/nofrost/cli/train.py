"""`nofrost train`: one recipe, one seed, in one process or in several."""

from __future__ import annotations

from pathlib import Path

import click

from nofrost.cli.options import FOLDER, common, only_rank_zero_reports, print_result


@click.command()
@common()
@click.option(
    "--recipe",
    "recipe_name",
    required=True,
    metavar="NAME|PATH",
    help="A recipe of the study, or shipped, or a YAML file.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random.")
@click.option("--dataset", type=FOLDER, required=True, help="Output folder of `nofrost prepare`.")
@click.option("--augmentation", type=FOLDER, help="Output folder of `nofrost augment`, for recipes that use it.")
@click.option(
    "--store",
    "url",
    metavar="URL",
    help="Where model.weights is fetched from if it is a ref: s3://BUCKET/PREFIX or a folder. Default: NOFROST_STORE, "
    "else DVC's default remote.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of checkpoints, curves and metrics to make.")
def train(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    recipe_name: str,
    seed: int,
    dataset: Path,
    augmentation: Path | None,
    url: str | None,
    out: Path,
) -> None:
    """Train one recipe with one seed. Killed and started again, it goes on from where it was.

    Example: nofrost train --study digits --recipe nofrost --set schedule.epochs=20 --dataset data/dataset --out mine

    On pre-trained weights: --set model.weights=PATH, or the ref that `nofrost store push` printed.

    Over the GPUs of one machine: torchrun --nproc-per-node 2 -m nofrost train ..., all else being equal. They share
    every batch, so that the model is the same but for rounding and for batch norms, which see the parts.
    """
    from nofrost import train as stage
    from nofrost.config import recipe_of
    from nofrost.tasks.weights import pretrained

    with only_rank_zero_reports() as is_rank_zero:
        recipe = recipe_of(study_name, recipe_name, overrides)
        stage.check_methods(recipe, f"{study_name}: recipes.{recipe_name}" if study_name else recipe_name, overrides)
        with pretrained(recipe, out, url) as weights:
            metrics = stage.run(dataset, augmentation, recipe, Path(recipe_name).stem, seed, out, weights)
    if not is_rank_zero:
        return
    clean, attacked = metrics["selection"]["clean"], metrics["selection"]["attacked"]
    attacked_text = f", {attacked['accuracy']:.1%} attacked" if attacked else ""
    summary = f"best epoch {metrics['best_epoch']}, on the selection split {clean['accuracy']:.1%} clean{attacked_text}"
    print_result(metrics, out, summary, as_json)
