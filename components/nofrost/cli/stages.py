"""`nofrost prepare|augment|evaluate|report`: one command for each stage; `train` has a file of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nofrost.cli.options import FOLDER, common, only_rank_zero_reports, print_result
from nofrost.errors import UserError


@click.command()
@common()
@click.option("--source", help="Such as digits, cifar10, folder, npz or idx; short for --set source=...")
@click.option("--path", help="Archive, file or folder of the source; short for --set path=...")
@click.option("--image-size", type=int, help="Resize to squares of so many pixels; short for --set image_size=...")
@click.option("--limit", type=int, help="Keep so many images, balanced over classes; short for --set limit=...")
@click.option("--out", type=FOLDER, required=True, help="Folder of the dataset to make.")
def prepare(study_name: str | None, overrides: tuple[str, ...], as_json: bool, out: Path, **given: Any) -> None:
    """Turn images from a source into a dataset with train, selection and test splits and a manifest.

    Example: nofrost prepare --source folder --path photos --image-size 64 --out data/dataset
    """
    from nofrost import prepare as stage
    from nofrost.config import dataset_of

    short = tuple(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None)
    overrides = (*overrides, *short)
    config = stage.resolve_source(
        dataset_of(study_name, overrides), study_name or "the default dataset", overrides=overrides
    )
    metrics = stage.run(config, out)
    counts = (
        f"{metrics.train_images:,} train, {metrics.selection_images:,} selection, {metrics.test_images:,} test images"
    )
    print_result(metrics.as_json(), out, f"{counts} of {metrics.classes} classes", as_json)


@click.command()
@common()
@click.option("--dataset", type=FOLDER, required=True, help="Output folder of `nofrost prepare`.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the augmentation sets to make.")
def augment(study_name: str | None, overrides: tuple[str, ...], as_json: bool, dataset: Path, out: Path) -> None:
    """Make augmentation sets of the training images offline: DeepAugment and texture-debiased augmentation.

    Example: nofrost augment --dataset data/dataset --set methods=[tda] --out data/augmentation
    """
    from nofrost import augment as stage
    from nofrost.config import augmentation_of

    config = augmentation_of(study_name, overrides)
    stage.resolve_methods(config, study_name or "the default augmentation", overrides=overrides)
    metrics = stage.run(dataset, config, out)
    summary = f"{', '.join(config.methods)} of {metrics.images:,} training images"
    print_result(metrics.as_json(), out, summary, as_json)


@click.command()
@common()
@click.option(
    "--suite",
    "suite_name",
    required=True,
    metavar="NAME|PATH",
    help="adversarial or ood of the study, or shipped, or a YAML file.",
)
@click.option(
    "--dataset", type=FOLDER, required=True, help="Output folder of `nofrost prepare`; its test split is used."
)
@click.option("--checkpoint", type=FOLDER, help="Output folder of `nofrost train`, or a .safetensors file.")
@click.option(
    "--model",
    metavar="MODULE:FUNCTION|FILE.py:FUNCTION",
    help="Instead of --checkpoint: code that returns a torch.nn.Module from images in [0, 1] to logits. It is run.",
)
@click.option(
    "--set-model",
    multiple=True,
    metavar="KEY=VALUE",
    help="What that function is called with, such as depth=18. May be given often.",
)
@click.option(
    "--shard",
    metavar="INDEX/COUNT",
    help="Measure one part of the test images, to be merged: 0/3 is every third batch (the suite's batch_size).",
)
@click.option(
    "--merge",
    type=FOLDER,
    multiple=True,
    metavar="SHARD",
    help="Output folder of a shard. Given for every shard, it makes what one evaluation of all images would have.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of metrics and per-image flags to make.")
def evaluate(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    suite_name: str,
    dataset: Path,
    checkpoint: Path | None,
    model: str | None,
    set_model: tuple[str, ...],
    shard: str | None,
    merge: tuple[Path, ...],
    out: Path,
) -> None:
    """Measure a model on the test split: clean, attacked (an adversarial suite) or shifted (an ood suite).

    Example: nofrost evaluate --suite ood-quick --dataset data/dataset --checkpoint runs/mine --out runs/mine-ood

    Over two machines: add --shard 0/2 --out part-0 on one and --shard 1/2 --out part-1 on the other, then --merge
    part-0 --merge part-1 --out runs/mine-ood, all else being equal.

    Over the GPUs of one machine: torchrun --nproc-per-node 2 -m nofrost evaluate ..., all else being equal.
    """
    if shard is not None and merge:
        raise UserError("--shard measures one part and --merge joins all parts: give one of the two")
    from nofrost import evaluate as stage
    from nofrost.attacks import check_attacks
    from nofrost.config import AdversarialSuite, suite_of

    with only_rank_zero_reports() as is_rank_zero:
        suite = suite_of(study_name, suite_name, overrides)
        check_attacks(suite, f"{study_name}: suites.{suite_name}" if study_name else suite_name, overrides)
        source = _source(checkpoint, model, set_model)
        part = None if shard is None else stage.Shard.parse(shard)
        if isinstance(suite, AdversarialSuite):
            if merge:
                metrics = stage.merge_adversarial(dataset, source, suite, merge, out)
            else:
                metrics = stage.run_adversarial(dataset, source, suite, out, part)
        elif merge:
            metrics = stage.merge_ood(dataset, source, suite, merge, out)
        else:
            metrics = stage.run_ood(dataset, source, suite, out, part)
    if is_rank_zero:
        print_result(metrics, out, _evaluated(metrics), as_json)


def _source(checkpoint: Path | None, model: str | None, settings: tuple[str, ...]) -> Any:
    """Return where the model comes from: the path of a checkpoint, or a function that makes it."""
    if (checkpoint is None) == (model is None):
        raise UserError("name the model by one of --checkpoint and --model")
    if model is None:
        if settings:
            raise UserError("--set-model is for the function of --model: leave it out with --checkpoint")
        return checkpoint
    from nofrost.config.loading import overridden
    from nofrost.models.reference import Reference

    return Reference(model, overridden({}, settings, "--set-model"))


def _evaluated(metrics: dict[str, Any]) -> str:
    images = f"{metrics['samples']:,} test images"
    if "shard" in metrics:
        return f"shard {metrics['shard']} with {images}, to be merged with the others"
    if metrics["kind"] == "adversarial":
        shown = {name: value["accuracy"] for name, value in metrics["accuracy"].items()}
    else:
        shown = {"clean": metrics["clean"]["accuracy"], "mean over corruptions": metrics["mean_accuracy"]}
    accuracies = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in shown.items())
    return f"{accuracies} of {images}{_alarms(metrics)}"


def _alarms(metrics: dict[str, Any]) -> str:
    raised = [f"{alarm['status']} {alarm['name']}" for alarm in metrics.get("alarms", ()) if alarm["status"] != "pass"]
    return f"; alarms: {', '.join(raised)}" if raised else ""


@click.command()
@common()
@click.option("--dataset", type=FOLDER, required=True, help="Output folder of `nofrost prepare`.")
@click.option("--augmentation", type=FOLDER, help="Output folder of `nofrost augment`, to show samples of it.")
@click.option(
    "--runs", type=FOLDER, required=True, help="Folder with RECIPE/seed-N/{train,evaluate-adversarial,evaluate-ood}."
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the report to make.")
def report(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    dataset: Path,
    augmentation: Path | None,
    runs: Path,
    out: Path,
) -> None:
    """Write report.html (one file that works offline), report.md and metrics.json for all runs of a study.

    Example: nofrost report --study params.yaml --dataset data/dataset --runs runs --out report
    """
    from nofrost import report as stage
    from nofrost.config import load_study

    metrics = stage.run(dataset, augmentation, runs, load_study(study_name or "params.yaml", overrides), out)
    print_result(metrics, out, f"open {out / 'report.html'}", as_json)
