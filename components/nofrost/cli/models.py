"""`nofrost models`: what can be trained, and what a checkpoint holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nofrost.cli.options import FOLDER
from nofrost.errors import unknown


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
