"""`nofrost models`: what can be trained, and what a checkpoint holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import FOLDER
from nofrost.cli.signal import models_signal
from nofrost.cli.table import aligned
from nofrost.errors import UserError, unknown

if TYPE_CHECKING:
    from nofrost.models import Classifier


@click.group()
def models() -> None:
    """List the architectures that can be trained, or show what one of them or a checkpoint holds."""


@models.command("list")
@click.argument("pattern", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models_list(pattern: str | None, as_json: bool) -> None:
    """Print the families of architectures, or with PATTERN, such as 'nf_*', all names that match it, timm's too."""
    from nofrost.models import list_models
    from nofrost.models.architectures import TIMM, families

    if pattern is None:
        known = {family.title: family.as_json() for family in (*families(), TIMM)}
        text = "\n\n".join(f"{title}\n{_indented(about)}" for title, about in known.items())
        click.echo(json.dumps(known, indent=2) if as_json else text)
        return
    names = list_models(pattern)
    if not names:
        raise unknown("arch pattern", pattern, ["resnet8", "nf_*", "resnet*"])
    click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names))


@models.command("show")
@click.argument("name", metavar="PATH|ARCH")
@click.option("--normaliser", help="Of the architecture; bn, or nf where it has nothing else, when not given.")
@click.option("--classes", "num_classes", type=int, metavar="N", help="Of the architecture; 10 when not given.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Of the architecture; 32 when not given.")
@click.option("--channels", type=int, metavar="N", help="Of the architecture; 3 when not given.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models_show(name: str, as_json: bool, **options: Any) -> None:
    """Print what a model holds: its parameters, those of its normalisers, and its layers by the names recipes use.

    PATH is the output folder of a training or a .safetensors file; of an ARCH no weights are made.
    """
    from nofrost.models import load_model, summarise

    given = {key: value for key, value in options.items() if value is not None}
    is_path = Path(name).exists() or "/" in name or name.endswith(".safetensors")
    if is_path and given:
        raise UserError(f"{name} is a checkpoint, which has settings of its own: leave out {', '.join(given)}")
    model = load_model(name) if is_path else _without_weights(name, given)
    summary = summarise(model.network)
    counts = {
        "parameters": summary.parameters,
        "of_normalisers": summary.of_normalisers,
        "of_the_rest": summary.parameters - summary.of_normalisers,
    }
    about = {**counts, **model.signature.as_json()}
    if as_json:
        click.echo(json.dumps({**about, "layers": [asdict(layer) for layer in summary.layers]}, indent=2))
        return
    rows = [
        (layer.name, layer.kind, " x ".join(map(str, layer.shapes.get("weight", ()))), f"{layer.parameters:,}")
        for layer in summary.layers
    ]
    lines = [f"{key}: {value:,}" if key in counts else f"{key}: {value}" for key, value in about.items()]
    click.echo("\n".join([*lines, "", *aligned([("layer", "kind", "weight", "parameters"), *rows])]))


def _without_weights(arch: str, given: dict[str, Any]) -> Classifier:
    import torch

    from nofrost.models import create_model
    from nofrost.models.architectures import TIMM, find_family

    normaliser = (find_family(arch) or TIMM).normalisers[0]
    settings = {"normaliser": normaliser, "num_classes": 10, "image_size": 32, "channels": 3, **given}
    with torch.device("meta"):
        return create_model(arch, **settings)


def _indented(about: dict[str, Any]) -> str:
    rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in about.items() if value]
    return "\n".join(f"  {line}" for line in aligned(rows))


@models.command("statistics")
@click.argument("path", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--out", type=FOLDER, metavar="FILE.npz", help="Also write every value of every layer to this file.")
def models_statistics(path: Path, as_json: bool, out: Path | None) -> None:
    """Print weight norms and batch norm statistics of the checkpoint at PATH, layer by layer.

    Of a batch norm: least, middle and largest running mean and variance, gain and shift, and the share of gains and
    shifts within 0.01 of zero. Of a mixture, both branches.
    """
    from nofrost.data.arrays import write_arrays
    from nofrost.evaluate.properties import layer_statistics
    from nofrost.models import load_model

    if out is not None and out.suffix != ".npz":
        raise UserError(f"{out} does not end in .npz: name the file such as statistics.npz")
    statistics = layer_statistics(load_model(path))
    if out is not None:
        try:
            write_arrays(out, statistics.arrays())
        except OSError as error:
            raise UserError(f"cannot write {out} ({error.strerror}): name another file") from None
    metrics = statistics.metrics()
    click.echo(json.dumps(metrics, indent=2) if as_json else "\n".join((*_weights(metrics), *_batch_norms(metrics))))


def _weights(metrics: dict[str, Any]) -> list[str]:
    norms = metrics["weight_norms"]
    rows = [
        (layer["layer"], " x ".join(map(str, layer["shape"])), f"{layer['frobenius']:.4g}", f"{layer['spectral']:.4g}")
        for layer in (norms["layers"] if norms else [])
    ]
    return aligned([("weights", "shape", "Frobenius", "spectral"), *rows]) if rows else ["no weights"]


def _batch_norms(metrics: dict[str, Any]) -> list[str]:
    rows = []
    for layer in metrics["batch_norm"]:
        ranges = (f"{low:.3g} {middle:.3g} {high:.3g}" for low, middle, high in _four_ranges(layer))
        near_zero = (f"{layer[f'{value}_near_zero']:.0%}" for value in ("weight", "bias") if value in layer)
        rows.append((layer["layer"], layer["branch"], *ranges, " ".join(near_zero)))
    if not rows:
        return ["no batch norm"]
    return ["", *aligned([("batch norm", "branch", "mean", "variance", "gain", "shift", "near zero"), *rows])]


def _four_ranges(layer: dict[str, Any]) -> list[list[float]]:
    return [layer.get(value, [float("nan")] * 3) for value in ("mean", "variance", "weight", "bias")]


models.add_command(models_signal)
