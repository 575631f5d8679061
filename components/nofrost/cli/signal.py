"""`nofrost models signal`: what becomes of mean and variance on the way through a new network."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nofrost.models import BlockSignal


@click.command("signal")
@click.option("--arch", required=True, help="Such as resnet20; see `nofrost models list`.")
@click.option("--normaliser", default="bn", show_default=True, help="Such as bn, gn, nf or none.")
@click.option("--image-size", type=click.IntRange(1), default=32, show_default=True, help="Height and width in pixels.")
@click.option("--channels", type=click.IntRange(1), default=3, show_default=True, help="1 for grey, 3 for colour.")
@click.option("--images", type=click.IntRange(2), default=16, show_default=True, help="How many inputs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights and inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models_signal(
    arch: str, normaliser: str, image_size: int, channels: int, images: int, seed: int, as_json: bool
) -> None:
    """Print mean and variance behind each block of a new network on normal input (signal propagation).

    The mean is squared and then averaged over channels: it stays near 0 unless a mean shift builds up. Expected is the
    variance that the blocks of our own normaliser-free networks are built for.
    """
    import torch

    from nofrost.models import create_model, signal_propagation

    torch.manual_seed(seed)
    model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=image_size, channels=channels)
    signals = signal_propagation(model, images=images, seed=seed)
    click.echo(json.dumps([dataclasses.asdict(each) for each in signals], indent=2) if as_json else _table(signals))


def _table(signals: tuple[BlockSignal, ...]) -> str:
    width = max(len("block"), *(len(each.name) for each in signals))
    lines = [f"{'block':{width}}  mean squared  variance  expected"]
    for each in signals:
        expected = "" if each.expected_variance is None else f"{each.expected_variance:.4g}"
        lines.append(f"{each.name:{width}}  {each.squared_mean:12.4g}  {each.variance:8.4g}  {expected:>8}".rstrip())
    return "\n".join(lines)
