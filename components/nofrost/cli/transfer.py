"""`nofrost transfer`: what an attacker finds who has another model than the one that is attacked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nofrost.cli.options import FOLDER
from nofrost.errors import UserError


@click.command()
@click.option(
    "--dataset", type=FOLDER, required=True, help="Output folder of `nofrost prepare`; its test split is used."
)
@click.option(
    "--model",
    "named",
    multiple=True,
    required=True,
    metavar="NAME=PATH|NAME=MODULE:FUNCTION",
    help="A model: output folder of `nofrost train`, a .safetensors file, or code that returns one. Given for each.",
)
@click.option("--attack", "attack_name", default="pgd", show_default=True, help="See `nofrost attacks list`.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting of the attack, such as steps=20."
)
@click.option(
    "--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True, help="Measures a perturbation."
)
@click.option("--eps", default="8/255", show_default=True, help="Budget in pixels of [0, 1].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Fixes every random choice.")
@click.option("--max-images", type=click.IntRange(min=1), help="Take so many, evenly spaced; all unless said.")
@click.option("--out", type=FOLDER, required=True, help="Folder of metrics and per-image flags to make.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON on standard output.")
def transfer(
    dataset: Path,
    named: tuple[str, ...],
    attack_name: str,
    overrides: tuple[str, ...],
    norm: str,
    eps: str,
    seed: int,
    max_images: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Attack every model on the test split and show each what was made against the others.

    A mixture-BN model is attacked as it is deployed and through each of its branches. A gradient attack runs all of its
    steps, as the first point that fools its source rarely fools another.

    Example: nofrost transfer --dataset data/dataset --model st=runs/st --model sat=runs/sat --out runs/moved
    """
    from nofrost.attacks import check_attacks
    from nofrost.config import AttackSpec, Threat
    from nofrost.config.loading import overridden, validated
    from nofrost.evaluate import run_transfer

    attack = validated(AttackSpec, {**overridden({}, overrides), "name": attack_name}, "--attack", overrides)
    check_attacks(attack, "--attack", overrides)
    threat = validated(Threat, {"norm": norm, "eps": eps}, "--eps")
    metrics = run_transfer(dataset, _sources(named), attack, threat, out, seed=seed, max_images=max_images)
    click.echo(json.dumps(metrics, indent=2) if as_json else f"{out}: {_as_table(metrics)}")


def _sources(named: tuple[str, ...]) -> dict[str, Any]:
    from nofrost.models.reference import Reference

    sources: dict[str, Any] = {}
    for text in named:
        name, equals, place = text.partition("=")
        if not (name and equals and place) or "/" in name:
            raise UserError(f"--model {text!r} is not of the form NAME=PATH: write such as sat=runs/sat/seed-0/train")
        if name in sources:
            raise UserError(f"--model {name} is given twice: give each model a name of its own")
        sources[name] = Reference(place) if ":" in place and not Path(place).exists() else Path(place)
    return sources


def _as_table(metrics: dict[str, Any]) -> str:
    attack, names = metrics["attack"], metrics["models"]
    rows = {"clean": metrics["clean"], **{f"against {name}": metrics["accuracy"][name] for name in names}}
    first = max(map(len, rows))
    wide = max(len("100.0 % (100.0-100.0)"), *map(len, names))
    head = " " * first + "".join(f"  {name:>{wide}}" for name in names)
    body = [
        f"{row:{first}}" + "".join(f"  {_share(by_model[name]):>{wide}}" for name in names)
        for row, by_model in rows.items()
    ]
    title = (
        f"accuracy (95 % interval) of each column's model on {metrics['samples']:,} test images, and on what "
        f"{attack['name']} ({attack['norm']} {attack['eps']:.4g}) made of them against each row's"
    )
    return "\n".join([title, head, *body])


def _share(accuracy: dict[str, Any]) -> str:
    return f"{accuracy['accuracy']:.1%} ({100 * accuracy['low']:.1f}-{100 * accuracy['high']:.1f})"
