"""`nofrost prepare|augment|train|report`: one command for each stage; `evaluate` is in its own file."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from nofrost.cli.options import (
    PATH,
    as_one_of_several,
    check_configuration_apart,
    data_option,
    dataset_option,
    emit,
    given_options,
    name_option,
    refuse_given,
    seed_option,
    stage_options,
    store_option,
)
from nofrost.data_cache import FOLDER_VARIABLE, SIZE_VARIABLE
from nofrost.errors import UserError


@click.command()
@stage_options
@click.option("--source", help="Such as digits, cifar10, folder, imagenet or webdataset; short for --set source=...")
@click.option("--path", help="Archive, file or folder of the source, also s3://...; short for --set path=...")
@click.option("--image-size", type=int, help="Resize to squares of this many pixels; short for --set image_size=...")
@click.option("--limit", type=int, help="Keep this many images, balanced over classes; short for --set limit=...")
@name_option
@click.option("--test-sets", is_flag=True, help="Make the further test sets of an ood suite instead, for --dataset.")
@click.option(
    "--suite",
    "suite_name",
    metavar="NAME|PATH",
    help="With --test-sets: which ood suite of the study; without a study a shipped one, or a YAML file.",
)
@click.option(
    "--dataset",
    type=PATH,
    help="With --test-sets: output of `nofrost prepare`, whose classes and image size the test sets get.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write the dataset to, or the test sets.")
def prepare(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    name: str,
    test_sets: bool,
    suite_name: str | None,
    dataset: Path | None,
    out: Path,
    **shortcuts: Any,
) -> None:
    """Turn images from a source into a dataset with train, selection and test splits and a manifest.

    Example: nofrost prepare --source folder --path photos --image-size 64 --out data/dataset

    Further test sets: nofrost prepare --test-sets --set test_sets.new.source=folder --set test_sets.new.path=photos-2
    --dataset data/dataset --out data/test-sets, or nofrost prepare --test-sets --suite mine.yaml with the same options
    """
    from nofrost import prepare as stage
    from nofrost.config import dataset_of, further_test_sets
    from nofrost.store.source_files import local_source
    from nofrost.tasks.test_set_task import local_test_sets

    values = {key: value for key, value in shortcuts.items() if value is not None}
    if test_sets or dataset or suite_name:
        if dataset is None or not test_sets or values or name:
            of_a_dataset = "--source, --path, --image-size, --limit and --name are for a dataset"
            reason = of_a_dataset if values or name else "give both"
            raise click.UsageError(f"--test-sets and --dataset belong together: {reason}.")
        specs = further_test_sets(study_name, suite_name, overrides)
        if not specs.test_sets and study_name is None:
            raise click.UsageError(
                "No test set is named: give --study, --suite, or --set test_sets.NAME.source=... and so on."
            )
        check_configuration_apart(out, study_name, suite_name)
        with local_test_sets(specs, out) as local:
            made = stage.run_test_sets(local, dataset, out)
        counts = ", ".join(f"{name} with {count:,} images" for name, count in made.test_images.items())
        emit(made, f"{out}: {counts or 'no test sets'}", as_json)
        return
    overrides += tuple(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    origin = study_name or "the default dataset"
    _require_study(study_name, name)
    config = stage.resolve_source(dataset_of(study_name, overrides, name), origin, overrides=overrides)
    check_configuration_apart(out, study_name)
    with local_source(config.path, out) as path:
        metrics = stage.run(config.model_copy(update={"path": path}), out)
    counts = (
        f"{metrics.train_images:,} train, {metrics.selection_images:,} selection, {metrics.test_images:,} test images"
    )
    emit(metrics, f"{out}: {counts} of {metrics.classes} classes", as_json)


def _require_study(study: str | None, name: str) -> None:
    if name and study is None:
        raise click.UsageError(f"--name {name} names a dataset of a study: give --study too.")


@click.command()
@stage_options
@dataset_option
@name_option
@click.option(
    "--shard", metavar="INDEX/COUNT", help="Make one shard of the images, for --merge: 0/3 is the first third of them."
)
@click.option(
    "--merge",
    type=PATH,
    multiple=True,
    metavar="SHARD",
    help="Output folder of a shard; repeat for every shard. Writes the sets of all images.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write the augmentation sets to.")
def augment(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    dataset: Path,
    name: str,
    shard: str | None,
    merge: tuple[Path, ...],
    out: Path,
) -> None:
    """Make augmentation sets of the training images offline (DeepAugment, texture-debiased augmentation,
    corruptions).

    Killed, it goes on where it was when the same command is run again.

    Example: nofrost augment --dataset data/dataset --set methods=[tda] --out data/augmentation

    Over two machines: add --shard 0/2 --out part-0 on one and --shard 1/2 --out part-1 on the other, then --merge
    part-0 --merge part-1 --out data/augmentation, with the other options as before.
    """
    if shard is not None and merge:
        raise UserError("--shard makes one shard and --merge joins all of them: give one of the two")
    from nofrost import augment as stage
    from nofrost.config import augmentation_of
    from nofrost.shard import TaskShard

    _require_study(study_name, name)
    config = augmentation_of(study_name, overrides, name)
    stage.resolve_methods(config, study_name or "the default augmentation", overrides=overrides)
    check_configuration_apart(out, study_name)
    parsed_shard = None if shard is None else TaskShard.parse(shard)
    metrics = stage.merge(dataset, config, merge, out) if merge else stage.run(dataset, config, out, parsed_shard)
    summary = f"{', '.join(config.methods) or 'no sets'} of {metrics.images:,} training images"
    of_all = f"shard {shard}, to be merged with the others: " if shard else ""
    emit(metrics, f"{out}: {of_all}{summary}", as_json)


@click.command()
@stage_options
@click.option(
    "--recipe",
    "recipe_name",
    required=True,
    metavar="NAME|PATH",
    help="A recipe of the study, or shipped, or a YAML file.",
)
@seed_option
@dataset_option
@click.option("--augmentation", type=PATH, help="Output folder of `nofrost augment`, for recipes that use it.")
@store_option
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="GPUs of this machine that share every batch, each with a process; 0 uses one if there is one.",
)
@data_option
@click.option(
    "--window",
    type=click.IntRange(min=1),
    help="Shards whose images are shuffled together, one such window after the other. Default: all with --data local, "
    "16 with --data stream. Another window is another order, and gives other weights.",
)
@click.option(
    "--data-cache",
    type=PATH,
    envvar=FOLDER_VARIABLE,
    help=f"With --data stream: folder of the cache. Default: {FOLDER_VARIABLE}, else ~/.cache/nofrost/shards.",
)
@click.option(
    "--cache-size",
    metavar="BYTES",
    envvar=SIZE_VARIABLE,
    help=f"With --data stream: its limit, such as 200GiB. Default: {SIZE_VARIABLE}, else 80 % of the disk.",
)
@click.option(
    "--start",
    "first",
    type=PATH,
    help="Output of `nofrost train` whose recipe is the first phases of this one, with the same seed: they are not "
    "trained again.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write checkpoints, curves and metrics to.")
@click.pass_context
def train(
    ctx: click.Context,
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    recipe_name: str,
    seed: int,
    dataset: Path,
    augmentation: Path | None,
    store_url: str | None,
    gpus: int,
    data: str,
    window: int | None,
    data_cache: Path | None,
    cache_size: str | None,
    first: Path | None,
    out: Path,
) -> None:
    """Train one recipe with one seed.

    A training that was killed continues from its last save when the same command is run again.

    Example: nofrost train --study digits --recipe nofrost --set schedule.epochs=20 --dataset data/dataset --out mine

    Of a recipe of several phases whose first ones another training has done: --start runs/all-n/seed-0/train.

    From pre-trained weights: --set model.weights=PATH, or the ref that `nofrost store push` printed. A ref is pulled
    from --store.

    On several GPUs of this machine: --gpus 8, which starts a process for each. They share every batch, so that the
    model is the same except for rounding and for batch norms, which normalise by the images of one process. torchrun
    does as well (without --gpus), but hides the exit codes.

    Photographs that need not fit on the disk: `nofrost store pull --without-shards data/dataset@REF`, then --data
    stream, which fetches the shards from --store as they are needed.
    """
    of_streaming = ("data_cache", "cache_size")
    if data == "local":
        refuse_given(ctx, of_streaming, "is for --data stream: leave it out, or add that")
    if gpus:
        from nofrost.models import require_gpus

        if os.environ.get("RANK") and os.environ.get("WORLD_SIZE"):
            raise UserError("--gpus starts the processes itself, and RANK and WORLD_SIZE say that torchrun has: leave "
                            "one of both out")  # fmt: skip
        require_gpus(gpus)
    if gpus > 1:
        from nofrost.ranks import Node
        from nofrost.tasks.starter import start

        # Their values may be those of variables, which the processes have too.
        start(["train", *given_options(ctx, but=("gpus", *(of_streaming if data == "local" else ())))], gpus, Node())
        return

    from nofrost import train as stage
    from nofrost.config import recipe_of
    from nofrost.data.shards.cached import shards_from
    from nofrost.stage import check_apart
    from nofrost.store import default_store, open_store
    from nofrost.tasks.cache_settings import make_shard_cache, users_cache
    from nofrost.tasks.workspace import pretrained

    with as_one_of_several() as is_rank_zero:
        recipe = recipe_of(study_name, recipe_name, overrides)
        stage.check_methods(recipe, f"{study_name}: recipes.{recipe_name}" if study_name else recipe_name, overrides)
        check_configuration_apart(out, study_name, recipe_name)
        with ExitStack() as stack:
            if data == "stream":
                window = window or stage.STREAM_WINDOW
                opened = open_store(store_url or default_store(), patient=True)
                folder = data_cache or users_cache()
                check_apart(folder, folder, [path for path in (dataset, augmentation, out) if path])
                cache = make_shard_cache(opened, folder, cache_size)
                stack.enter_context(shards_from(cache))
            weights = stack.enter_context(pretrained(recipe, out, store_url))
            name = Path(recipe_name).stem
            metrics = stage.run(dataset, augmentation, recipe, name, seed, out, weights, window, first)
    if not is_rank_zero:
        return
    clean, attacked = metrics.selection.clean, metrics.selection.attacked
    attacked_text = f", {attacked.accuracy:.1%} attacked" if attacked else ""
    summary = f"epoch {metrics.best_epoch}, the last, is kept, as there is no selection split"
    if clean:
        kept = "best epoch" if recipe.selection.keep == "best" else "kept epoch"
        summary = f"{kept} {metrics.best_epoch}, on the selection split {clean.accuracy:.1%} clean{attacked_text}"
    emit(metrics, f"{out}: {summary}", as_json)


@click.command()
@stage_options
@dataset_option
@click.option("--augmentation", type=PATH, help="Output folder of `nofrost augment`, to show samples of it.")
@click.option(
    "--runs",
    type=PATH,
    required=True,
    help="Folder with RECIPE/seed-N/{train,evaluate-adversarial/SUITE,evaluate-ood/SUITE}.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write the report to.")
def report(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    dataset: Path,
    augmentation: Path | None,
    runs: Path,
    out: Path,
) -> None:
    """Write a report on all runs of a study: report.html (one file that works offline), report.md and metrics.json.

    Further datasets of the study are read beside --dataset, in datasets/NAME, and their augmentation sets beside
    --augmentation, in augmentations/NAME.

    Example: nofrost report --study params.yaml --dataset data/dataset --runs runs --out report
    """
    from nofrost import report as stage
    from nofrost.config import load_study

    study = load_study(study_name or "params.yaml", overrides)
    check_configuration_apart(out, study_name or "params.yaml")
    metrics = stage.run(dataset, augmentation, runs, study, out)
    emit(metrics, f"{out}: open {out / 'report.html'}", as_json)
