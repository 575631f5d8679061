"""`nofrost models`: what can be trained, and what a checkpoint holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nofrost.cli.options import FOLDER
from nofrost.errors import UserError, unknown


@click.group()
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


@models.command("statistics")
@click.argument("path", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--out", type=FOLDER, metavar="FILE.npz", help="Also write every value of every layer to this file.")
def models_statistics(path: Path, as_json: bool, out: Path | None) -> None:
    """Print weight norms and batch norm statistics of the checkpoint at PATH, layer by layer.

    Of a batch norm: least, middle and largest running mean and variance, gain and shift, and the share of gains and
    shifts within 0.01 of zero. Of a mixture, both branches.
    """
    from nofrost.evaluate.properties import layer_statistics
    from nofrost.evaluate.stage_files import write_arrays
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
    return _aligned([("weights", "shape", "Frobenius", "spectral"), *rows]) if rows else ["no weights"]


def _batch_norms(metrics: dict[str, Any]) -> list[str]:
    rows = []
    for layer in metrics["batch_norm"]:
        ranges = (f"{low:.3g} {middle:.3g} {high:.3g}" for low, middle, high in _four_ranges(layer))
        near_zero = (f"{layer[f'{value}_near_zero']:.0%}" for value in ("weight", "bias") if value in layer)
        rows.append((layer["layer"], layer["domain"], *ranges, " ".join(near_zero)))
    if not rows:
        return ["no batch norm"]
    return ["", *_aligned([("batch norm", "domain", "mean", "variance", "gain", "shift", "near zero"), *rows])]


def _four_ranges(layer: dict[str, Any]) -> list[list[float]]:
    return [layer.get(value, [float("nan")] * 3) for value in ("mean", "variance", "weight", "bias")]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
