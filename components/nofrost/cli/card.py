"""`nofrost card`: a robust accuracy in the form in which RobustBench collects them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nofrost.cli.options import FOLDER


@click.command()
@click.argument("evaluation", type=FOLDER, metavar="EVALUATION_FOLDER")
@click.option("--name", required=True, help="Title of the paper or name of the model.")
@click.option("--authors", required=True, help="Who made the model, such as 'A. One, B. Two'.")
@click.option("--link", help="Where the paper or the code is.")
@click.option("--venue", help="Where it was published, such as 'ICML 2022'.")
@click.option("--dataset", help="The dataset as RobustBench calls it, such as cifar10.")
@click.option("--architecture", help="The architecture, such as ResNet-50.")
@click.option("--additional-data", is_flag=True, help="It was trained on images beyond the dataset's.")
@click.option("--number-forward-passes", type=int, help="Passes that one prediction takes; 1 unless said.")
@click.option("--reported", type=float, metavar="PERCENT", help="The robust accuracy that the paper prints.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; printed when not given.")
def card(evaluation: Path, out: Path | None, **about: Any) -> None:
    """Print the evaluation in EVALUATION_FOLDER as a model card of RobustBench, with intervals and alarms beside it.

    autoattack_acc is filled only when AutoAttack's version standard was run with its own settings on all images.

    Example: nofrost card runs/mine/attacked --name NoFrost --authors 'H. Wang et al.' --out card.json
    """
    from nofrost.evaluate.card import card_of_folder
    from nofrost.files import explain_write_errors, write_json

    made = card_of_folder(evaluation, {key: value for key, value in about.items() if value is not None})
    if out is None:
        click.echo(json.dumps(made, indent=2))
        return
    with explain_write_errors(out):
        write_json(out, made)
    click.echo(f"{out}: autoattack_acc {made['autoattack_acc'] or 'null, ' + made['nofrost']['autoattack_reason']}")
