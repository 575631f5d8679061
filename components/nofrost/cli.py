"""`nofrost STAGE ...`: one sub-command for each stage. Thin: it reads the configuration and calls the stage.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nofrost.errors import StoppedError, UserError, unknown

F = TypeVar("F", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 wrong usage or input, 143 stopped after saving (start again)."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted: what was finished is kept", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        _fail(str(error), 2)
    except StoppedError as error:
        _fail(str(error), 143)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left: nothing to say to nobody
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    click.echo(f"nofrost: {message}", err=True)
    sys.exit(code)


def common(*, study: bool = True) -> Callable[[F], F]:
    """Add the options that commands share: --study, --set and --json."""

    def decorate(command: F) -> F:
        command = click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON on standard output.")(
            command
        )
        command = click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Replace a value of the configuration, such as schedule.epochs=3. May be given often.",
        )(command)
        if study:
            command = click.option(
                "--study",
                "study_name",
                metavar="NAME|PATH",
                help="A study that is shipped (see `nofrost study list`) or a YAML file such as params.yaml.",
            )(command)
        return command

    return decorate


def _report(metrics: dict[str, Any], out: Path, summary: str, as_json: bool) -> None:
    click.echo(json.dumps(metrics, indent=2) if as_json else f"{out}: {summary}")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nofrost", prog_name="nofrost")
def cli() -> None:
    """Train image classifiers that withstand adversarial and natural shifts, attack them, report what survived.

    The stages in their order: prepare, augment, train, evaluate, report. `dvc repro` runs them all for the study in
    params.yaml; each can also be run alone. Wrong usage or input ends with one sentence and exit code 2.
    """


@cli.command()
@common()
@click.option("--source", help="digits, cifar10, folder, npz or idx; short for --set source=...")
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
    config = dataset_of(study_name, (*overrides, *short))
    metrics = stage.run(config, out)
    counts = ", ".join(f"{metrics[f'{split}_images']:,} {split}" for split in ("train", "selection", "test"))
    _report(metrics, out, f"{counts} images of {metrics['classes']} classes", as_json)


@cli.command()
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
    metrics = stage.run(dataset, config, out)
    _report(metrics, out, f"{', '.join(config.methods)} of {metrics['images']:,} training images", as_json)


@cli.command()
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
@click.option("--out", type=FOLDER, required=True, help="Folder of checkpoints, curves and metrics to make.")
def train(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    recipe_name: str,
    seed: int,
    dataset: Path,
    augmentation: Path | None,
    out: Path,
) -> None:
    """Train one recipe with one seed. Killed and started again, it goes on from where it was.

    Example: nofrost train --recipe nofrost --set model.arch=resnet8 --dataset data/dataset --out runs/mine
    """
    from nofrost import train as stage
    from nofrost.config import recipe_of

    recipe = recipe_of(study_name, recipe_name, overrides)
    metrics = stage.run(dataset, augmentation, recipe, Path(recipe_name).stem, seed, out)
    clean, attacked = metrics["selection"]["clean"], metrics["selection"]["attacked"]
    attacked_text = f", {attacked['accuracy']:.1%} attacked" if attacked else ""
    summary = f"best epoch {metrics['best_epoch']}, on the selection split {clean['accuracy']:.1%} clean{attacked_text}"
    _report(metrics, out, summary, as_json)


@cli.command()
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
@click.option(
    "--checkpoint", type=FOLDER, required=True, help="Output folder of `nofrost train`, or a .safetensors file."
)
@click.option("--out", type=FOLDER, required=True, help="Folder of metrics and per-image flags to make.")
def evaluate(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    suite_name: str,
    dataset: Path,
    checkpoint: Path,
    out: Path,
) -> None:
    """Measure a model on the test split: clean, attacked (an adversarial suite) or shifted (an ood suite).

    Example: nofrost evaluate --suite ood-quick --dataset data/dataset --checkpoint runs/mine --out runs/mine-ood
    """
    from nofrost import evaluate as stage
    from nofrost.config import AdversarialSuite, suite_of

    suite = suite_of(study_name, suite_name, overrides)
    if isinstance(suite, AdversarialSuite):
        metrics = stage.run_adversarial(dataset, checkpoint, suite, out)
        parts = {name: value["accuracy"] for name, value in metrics["accuracy"].items()}
    else:
        metrics = stage.run_ood(dataset, checkpoint, suite, out)
        parts = {"clean": metrics["clean"]["accuracy"], "mean over corruptions": metrics["mean_accuracy"]}
    summary = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in parts.items())
    _report(metrics, out, f"{summary} of {metrics['samples']:,} test images", as_json)


@cli.command()
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
    _report(metrics, out, f"open {out / 'report.html'}", as_json)


@cli.group()
def study() -> None:
    """List the studies that are shipped, show one in full, or make one the active study."""


@study.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print names and titles as JSON.")
def study_list(as_json: bool) -> None:
    """Print the name and title of every shipped study."""
    from nofrost.config import load_study, shipped_names

    titles = {name: load_study(name).title for name in shipped_names("study")}
    click.echo(
        json.dumps(titles, indent=2) if as_json else "\n".join(f"{name:12} {title}" for name, title in titles.items())
    )


@study.command("show")
@click.argument("name")
@common(study=False)
def study_show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the study NAME (shipped, or a YAML file) with everything spelled out."""
    from nofrost.config import load_study, study_as_yaml

    loaded = load_study(name, overrides)
    click.echo(json.dumps(loaded.as_json(), indent=2) if as_json else study_as_yaml(loaded), nl=as_json)


@study.command("select")
@click.argument("name")
@common(study=False)
@click.option("--out", type=FOLDER, default=Path("params.yaml"), show_default=True, help="File to write.")
def study_select(name: str, overrides: tuple[str, ...], as_json: bool, out: Path) -> None:
    """Make NAME (shipped, or a YAML file) the active study: write it, spelled out, to params.yaml.

    The file's earlier content is replaced; it is what DVC tracks, key by key. Then `dvc repro` runs what changed.
    """
    from nofrost.config import load_study, study_as_yaml
    from nofrost.files import write_text
    from nofrost.stage import cannot_write

    loaded = load_study(name, overrides)
    try:
        write_text(out, study_as_yaml(loaded))
    except OSError as error:
        raise cannot_write(error, out) from error
    summary = f"study {loaded.name}, {len(loaded.runs.recipe)} recipes, {len(loaded.runs.seed)} seeds"
    _report(loaded.as_json(), out, summary, as_json)


@cli.group()
def models() -> None:
    """List the architectures that can be trained, or show what a checkpoint holds."""


@models.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print the names as a JSON list.")
def models_list(pattern: str, as_json: bool) -> None:
    """Print the names of all architectures that match PATTERN, such as 'nf_*' (own ones first, then timm's)."""
    import fnmatch

    from nofrost.models import model_names

    names = fnmatch.filter(model_names(), pattern)
    if not names:
        raise unknown("arch pattern", pattern, ["resnet8", "nf_*", "resnet*"])
    click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names))


@models.command("show")
@click.argument("path", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models_show(path: Path, as_json: bool) -> None:
    """Print what the checkpoint at PATH (a training's output folder or a .safetensors file) holds."""
    from nofrost.models import load_model

    model = load_model(path)
    about = {"parameters": sum(p.numel() for p in model.parameters()), **model.signature.as_json()}
    click.echo(json.dumps(about, indent=2) if as_json else "\n".join(f"{key}: {value}" for key, value in about.items()))


@cli.group()
def attacks() -> None:
    """List the attacks that suites and recipes can name."""


@attacks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def attacks_list(as_json: bool) -> None:
    """Print the name of every attack with its settings and their defaults."""
    from nofrost.attacks import attack_names, attack_settings

    known = {name: attack_settings(name) for name in attack_names()}
    lines = [f"{name:14} " + ", ".join(f"{key}={value}" for key, value in known[name].items()) for name in known]
    click.echo(json.dumps(known, indent=2) if as_json else "\n".join(lines))
