"""`nofrost evaluate|transfer|card`: evaluate a model, transfer attacks between models, write a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import (
    PATH,
    aligned,
    as_one_of_several,
    check_configuration_apart,
    dataset_option,
    emit,
    json_option,
    seed_option,
    stage_options,
)
from nofrost.errors import UserError

if TYPE_CHECKING:
    from nofrost.results import AdversarialMetrics, OodMetrics, Proportion, ShardMetrics, TransferMetrics

# Files of an evaluation, from which a card is made.
MEASURED = ("metrics.json", "record.json", "flags.npz", "examples.npz", "properties.npz")


@click.command()
@stage_options
@click.option(
    "--suite",
    "suite_name",
    required=True,
    metavar="NAME|PATH",
    help="A suite of the study, such as adversarial/quick; without a study a shipped suite, or a YAML file.",
)
@dataset_option
@click.option("--checkpoint", type=PATH, help="Output folder of `nofrost train`, or a .safetensors file.")
@click.option(
    "--model",
    "function",
    metavar="MODULE:FUNCTION|FILE.py:FUNCTION",
    help="Instead of --checkpoint: code that returns a torch.nn.Module from images in [0, 1] to logits. It is run.",
)
@click.option(
    "--set-model",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of that function, such as depth=18. May be given more than once.",
)
@click.option(
    "--test-sets",
    type=PATH,
    metavar="FOLDER",
    help="Output folder of `nofrost prepare --test-sets`, for the further test sets of an ood suite.",
)
@click.option(
    "--shard",
    metavar="INDEX/COUNT",
    help="Measure one shard of the test images, for --merge: 0/3 is every third batch (of the suite's batch_size).",
)
@click.option(
    "--merge",
    type=PATH,
    multiple=True,
    metavar="SHARD",
    help="Output folder of a shard; repeat for every shard. Writes the result of an evaluation of all images.",
)
@click.option("--out", type=PATH, required=True, help="Folder to write metrics and per-image flags to.")
def evaluate(
    study_name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    suite_name: str,
    dataset: Path,
    checkpoint: Path | None,
    function: str | None,
    settings: tuple[str, ...],
    test_sets: Path | None,
    shard: str | None,
    merge: tuple[Path, ...],
    out: Path,
) -> None:
    """Measure a model on the test split.

    Clean images are measured beside attacked ones (an adversarial suite) or shifted ones (an ood suite).

    Example: nofrost evaluate --suite ood-quick --dataset data/dataset --checkpoint runs/mine --out runs/mine-ood

    Over two machines: add --shard 0/2 --out part-0 on one and --shard 1/2 --out part-1 on the other, then --merge
    part-0 --merge part-1 --out runs/mine-ood, with the other options as before.

    Over the GPUs of one machine: torchrun --nproc-per-node 2 -m nofrost evaluate ... with the same options.
    """
    if shard is not None and merge:
        raise UserError("--shard measures one shard and --merge joins all of them: give one of the two")
    from nofrost import evaluate as stage
    from nofrost.attacks import check_attacks
    from nofrost.config import suite_of

    with as_one_of_several() as is_rank_zero:
        suite, origin = suite_of(study_name, suite_name, overrides)
        check_attacks(suite, origin, overrides)
        model = _model(checkpoint, function, settings)
        parsed_shard = None if shard is None else stage.Shard.parse(shard)
        check_configuration_apart(out, study_name, suite_name)
        metrics: AdversarialMetrics | OodMetrics | ShardMetrics
        if merge:
            metrics = stage.merge(dataset, model, suite, merge, out, test_sets)
        else:
            metrics = stage.run(dataset, model, suite, out, parsed_shard, test_sets)
    if is_rank_zero:
        emit(metrics, f"{out}: {_summary(metrics)}", as_json)


def _model(checkpoint: Path | None, function: str | None, settings: tuple[str, ...]) -> Any:
    """Return where the model comes from: the path of a checkpoint, or a function that returns it."""
    if (checkpoint is None) == (function is None):
        raise UserError("name the model by one of --checkpoint and --model")
    if function is None:
        if settings:
            raise UserError("--set-model is for the function of --model: leave it out with --checkpoint")
        return checkpoint
    if function.endswith(".safetensors") or Path(function).is_dir():
        raise UserError(
            f"--model is for code that returns a network, and {function} is no code: name a "
            "checkpoint with --checkpoint"
        )
    from nofrost.config.loading import overridden
    from nofrost.models.reference import Reference

    return Reference(function, overridden({}, settings, "--set-model"))


def _summary(metrics: AdversarialMetrics | OodMetrics | ShardMetrics) -> str:
    from nofrost.results import AdversarialMetrics, ShardMetrics

    images = f"{metrics.samples:,} test images"
    if isinstance(metrics, ShardMetrics):
        return f"shard {metrics.shard} with {images}, to be merged with the others"
    if not isinstance(metrics, AdversarialMetrics):
        mean = "" if metrics.mean is None else f", mean over corruptions {metrics.mean.mean_accuracy:.1%}"
        sets = [f", {name} {each.accuracy:.1%}" for name, each in metrics.test_sets.items()]
        sets += [f", {name} {each.mean_accuracy:.1%}" for name, each in metrics.corrupted_sets.items()]
        sets += [f", {name} AUROC {each.max_softmax.auroc:.3f}" for name, each in metrics.outlier_sets.items()]
        return f"clean {metrics.clean.accuracy:.1%}{mean} of {images}{''.join(sets)}"
    accuracies = ", ".join(f"{name} {proportion.accuracy:.1%}" for name, proportion in metrics.accuracy.items())
    alarms = ", ".join(f"{alarm.status} {alarm.name}" for alarm in metrics.alarms if alarm.status != "pass")
    return f"{accuracies} of {images}" + (f"; alarms: {alarms}" if alarms else "")


@click.command()
@dataset_option
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="NAME=PATH|NAME=MODULE:FUNCTION",
    help="A model: output folder of `nofrost train`, a .safetensors file, or code. One option for each.",
)
@click.option("--attack", "attack_name", default="pgd", show_default=True, help="See `nofrost attacks list`.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting of the attack, such as steps=20."
)
@click.option(
    "--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True, help="Norm of a perturbation."
)
@click.option("--eps", default="8/255", show_default=True, help="Budget in pixels of [0, 1].")
@seed_option
@click.option(
    "--max-images", type=click.IntRange(1, 10_000_000), help="Use this many images, evenly spaced; default: all."
)
@click.option("--out", type=PATH, required=True, help="Folder to write metrics and per-image flags to.")
@json_option
def transfer(
    dataset: Path,
    models: tuple[str, ...],
    attack_name: str,
    overrides: tuple[str, ...],
    norm: str,
    eps: str,
    seed: int,
    max_images: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Attack several models, and show each the images of the others.

    A mixture-BN model is attacked as it is deployed and through each of its branches. A gradient attack runs all of its
    steps, as the first point that fools one model rarely fools another.

    Example: nofrost transfer --dataset data/dataset --model st=runs/st --model sat=runs/sat --out runs/transfer
    """
    from nofrost.attacks import check_attacks
    from nofrost.config import AttackSpec, Threat
    from nofrost.config.loading import overridden, validated
    from nofrost.evaluate import run_transfer

    attack = validated(AttackSpec, {**overridden({}, overrides), "name": attack_name}, "--attack", overrides)
    check_attacks(attack, "--attack", overrides)
    threat = validated(Threat, {"norm": norm, "eps": eps}, "--eps")
    metrics = run_transfer(dataset, _models(models), attack, threat, out, seed=seed, max_images=max_images)
    emit(metrics, f"{out}: {_transfer_table(metrics)}", as_json)


def _models(texts: tuple[str, ...]) -> dict[str, Any]:
    from nofrost.models.reference import Reference

    models: dict[str, Any] = {}
    for text in texts:
        name, equals, location = text.partition("=")
        if not (name and equals and location) or "/" in name:
            raise UserError(f"--model {text!r} is not of the form NAME=PATH: write such as sat=runs/sat/seed-0/train")
        if name in models:
            raise UserError(f"--model {name} is used twice: give each model its own name")
        is_function = ":" in location and not Path(location).exists()
        models[name] = Reference(location) if is_function else Path(location)
    return models


def _transfer_table(metrics: TransferMetrics) -> str:
    rows = {"clean": metrics.clean, **{f"against {name}": metrics.accuracy[name] for name in metrics.models}}
    # The columns of all models have the same width, and their cells are right-aligned.
    width = max(len("100.0 % (100.0-100.0)"), *map(len, metrics.models))
    lines = [("", *(name.rjust(width) for name in metrics.models))]
    for row, by_model in rows.items():
        lines.append((row, *(_interval(by_model[name]).rjust(width) for name in metrics.models)))
    attack = metrics.attack
    title = (
        f"accuracy (95 % interval) of each column's model on {metrics.samples:,} test images, and on what "
        f"{attack['name']} ({attack['norm']} {attack['eps']:.4g}) made of them against each row's"
    )
    return f"{title}\n{aligned(lines)}"


def _interval(proportion: Proportion) -> str:
    return f"{proportion.accuracy:.1%} ({100 * proportion.low:.1f}-{100 * proportion.high:.1f})"


@click.command()
@click.argument("evaluation", type=PATH, metavar="EVALUATION_FOLDER")
@click.option("--paper", metavar="KEY", help="A paper of `nofrost papers`; fills in name, authors, link and venue.")
@click.option("--name", help="Title of the paper or name of the model.  [required without --paper]")
@click.option("--authors", help="Who made the model, such as 'A. One, B. Two'.  [required without --paper]")
@click.option("--link", help="Where the paper or the code is.")
@click.option("--venue", help="Where it was published, such as 'ICML 2022'.")
@click.option("--dataset", help="The dataset as RobustBench calls it, such as cifar10.")
@click.option("--architecture", help="The architecture, such as ResNet-50.")
@click.option("--additional-data", is_flag=True, help="It was trained on images beyond the dataset's.")
@click.option("--number-forward-passes", type=int, help="Passes that one prediction takes; default: 1.")
@click.option("--reported", type=float, metavar="PERCENT", help="The robust accuracy that the paper prints.")
@click.option("--out", type=PATH, help="File to write; default: print.")
def card(evaluation: Path, paper: str | None, out: Path | None, **options: Any) -> None:
    """Print an evaluation as a model card of RobustBench.

    EVALUATION_FOLDER is an output of `nofrost evaluate`; intervals and alarms stand beside its accuracy. autoattack_acc
    is filled only when AutoAttack's version standard was run with its own settings on all images.

    Example: nofrost card runs/mine-attacked --paper wang2022 --dataset cifar10 --out card.json
    """
    from nofrost.config import find_paper
    from nofrost.evaluate.card import card_of_folder
    from nofrost.files import write_json
    from nofrost.system_errors import explain_write_errors

    fields: dict[str, Any] = {}
    if paper is not None:
        about = find_paper(paper)
        fields = {"name": about.title, "authors": ", ".join(about.authors), "link": about.link}
        fields["venue"] = f"{about.venue} {about.year}"
    fields |= {key: value for key, value in options.items() if value is not None}
    for key in ("name", "authors"):
        if key not in fields:
            raise click.UsageError(f"Missing option '--{key}', or '--paper', which fills it in.")
    model_card = card_of_folder(evaluation, fields)
    if out is None:
        emit(model_card, "", as_json=True)
        return
    if out.name in MEASURED and out.resolve().parent == evaluation.resolve():
        raise UserError(f"cannot write {out}: it is part of the evaluation: choose another name, such as card.json")
    with explain_write_errors(out):
        write_json(out, model_card)
    value = model_card["autoattack_acc"] or f"null, {model_card['nofrost']['autoattack_reason']}"
    click.echo(f"{out}: autoattack_acc {value}")
