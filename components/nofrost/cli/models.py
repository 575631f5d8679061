"""`nofrost models|attacks`: list architectures and attacks, and show what a model or checkpoint contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import PATH, aligned, emit, json_option
from nofrost.errors import UserError, unknown

if TYPE_CHECKING:
    from nofrost.models import Classifier
    from nofrost.results import LayerMetrics


def settings_table(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a line for each name with its settings and their defaults."""
    rows = {name: ", ".join(f"{key}={value}" for key, value in defaults.items()) for name, defaults in settings.items()}
    return aligned(list(rows.items()))


SMALL, LARGE = click.IntRange(1, 10**4), click.IntRange(1, 10**7)


@click.group()
def attacks() -> None:
    """List the attacks that suites and recipes can name."""


@attacks.command("list")
@json_option
def attacks_list(as_json: bool) -> None:
    """Print the name of every attack with its settings and their defaults."""
    from nofrost.attacks import attack_settings, list_attacks

    settings = {name: attack_settings(name) for name in list_attacks()}
    emit(settings, settings_table(settings), as_json)


@click.group()
def models() -> None:
    """List architectures, or show what a model or checkpoint contains."""


@models.command("list")
@click.argument("pattern", required=False)
@json_option
def models_list(pattern: str | None, as_json: bool) -> None:
    """Print the families of architectures, or with PATTERN, such as 'nf_*', all names that match it, timm's too."""
    from nofrost.models import list_models
    from nofrost.models.architectures import TIMM, families

    if pattern is None:
        by_title = {family.title: family.as_json() for family in (*families(), TIMM)}
        emit(by_title, "\n\n".join(f"{title}\n{_indented(about)}" for title, about in by_title.items()), as_json)
        return
    names = list_models(pattern)
    if not names:
        raise unknown("arch pattern", pattern, ["resnet8", "nf_*", "resnet*"])
    emit(names, "\n".join(names), as_json)


def _indented(about: dict[str, Any]) -> str:
    rows = [(key, ", ".join(value) if isinstance(value, list) else value) for key, value in about.items() if value]
    return "\n".join(f"  {line}" for line in aligned(rows).splitlines())


@models.command("show")
@click.argument("name", metavar="PATH|ARCH")
@click.option("--normaliser", help="Of the architecture; default: bn, or nf where it has nothing else.")
@click.option("--classes", "num_classes", type=LARGE, metavar="N", help="Of the architecture; default: 10.")
@click.option("--image-size", type=SMALL, metavar="PIXELS", help="Of the architecture; default: 32.")
@click.option("--channels", type=SMALL, metavar="N", help="Of the architecture; default: 3.")
@json_option
def models_show(name: str, as_json: bool, **options: Any) -> None:
    """Print what a model contains: its parameters, those of its normalisers, and its layers by the names recipes use.

    PATH is the output folder of a training or a .safetensors file. For an ARCH, no weights are created.
    """
    from nofrost.models import load_model, summarise

    settings = {key: value for key, value in options.items() if value is not None}
    is_path = Path(name).exists() or "/" in name or name.endswith(".safetensors")
    if is_path and settings:
        raise UserError(f"{name} is a checkpoint, whose settings are fixed: leave out {', '.join(settings)}")
    model = load_model(name) if is_path else _without_weights(name, settings)
    summary = summarise(model.network)
    counts = {
        "parameters": summary.parameters,
        "of_normalisers": summary.of_normalisers,
        "of_the_rest": summary.parameters - summary.of_normalisers,
    }
    about = {**counts, **model.signature.as_json()}
    rows = [
        (layer.name, layer.kind, " x ".join(map(str, layer.shapes.get("weight", ()))), f"{layer.parameters:,}")
        for layer in summary.layers
    ]
    lines = [f"{key}: {value:,}" if key in counts else f"{key}: {value}" for key, value in about.items()]
    text = "\n".join([*lines, "", aligned([("layer", "kind", "weight", "parameters"), *rows])])
    emit({**about, "layers": [asdict(layer) for layer in summary.layers]}, text, as_json)


def _without_weights(arch: str, settings: dict[str, Any]) -> Classifier:
    import torch

    from nofrost.models import create_model
    from nofrost.models.architectures import family_of

    normaliser = family_of(arch).normalisers[0]
    settings = {"normaliser": normaliser, "num_classes": 10, "image_size": 32, "channels": 3, **settings}
    with torch.device("meta"):
        return create_model(arch, **settings)


@models.command("convert")
@click.argument("file", type=PATH, metavar="FILE")
@click.option("--out", type=PATH, required=True, metavar="FILE.safetensors", help="File to write the weights to.")
@click.option("--arch", help="Of a classifier: bagnet17, vgg16_bn, resnet50; none for DeepAugment's networks.")
@click.option("--image-size", type=SMALL, metavar="PIXELS", help="Of the classifier's images; default: 224.")
@json_option
def models_convert(file: Path, out: Path, arch: str | None, image_size: int | None, as_json: bool) -> None:
    """Convert published weights to a safetensors file, without running code.

    With --arch, FILE is a state_dict of torchvision's VGG or ResNet or of BagNet, and what is written is a checkpoint
    that `nofrost evaluate` takes. Without, it is edsr_baseline_x4.pt or the auto-encoder's model_final.state of
    DeepAugment, and `nofrost augment` takes it.

    Example: nofrost models convert vgg16_bn-6c64b313.pth --arch vgg16_bn --out weights/vgg16_bn.safetensors

    Example: nofrost models convert downloads/edsr_baseline_x4-6b446fab.pt --out weights/edsr.safetensors

    Then: nofrost augment --set methods=[deepaugment-edsr] --set deepaugment-edsr.weights=weights/edsr.safetensors ...
    """
    from nofrost.system_errors import explain_write_errors

    if out.suffix != ".safetensors":
        raise UserError(f"{out} does not end in .safetensors: choose a file name such as edsr.safetensors")
    if image_size is not None and arch is None:
        raise UserError("--image-size is of a classifier: name its --arch too")
    with explain_write_errors(out):
        about, title = _converted(file, out, arch, image_size)
    text = f"{out}: {title} for {about['channels']} channels with {about['parameters']:,} parameters"
    emit(about, text, as_json)


def _converted(file: Path, out: Path, arch: str | None, image_size: int | None) -> tuple[dict[str, Any], str]:
    """Convert the file; return what was written, as JSON values, and the name of its architecture."""
    if arch is None:
        from nofrost.augment.deepaugment.published import convert

        network = convert(file, out)
        about, title, parameters = network.spec.as_json(), None, network.parameters()
    else:
        from nofrost.models import published_weights

        model = published_weights.convert(file, arch, out, image_size or published_weights.IMAGE_SIZE)
        about, title, parameters = model.signature.as_json(), arch, model.parameters()
    return {**about, "parameters": sum(each.numel() for each in parameters)}, title or str(about["architecture"])


@models.command("statistics")
@click.argument("path", type=PATH)
@json_option
@click.option("--out", type=PATH, metavar="FILE.npz", help="Also write every value of every layer to this file.")
def models_statistics(path: Path, as_json: bool, out: Path | None) -> None:
    """Print weight norms and batch norm statistics of the checkpoint at PATH, layer by layer.

    For each batch norm: minimum, median and maximum of running mean, running variance, gain and shift, and the share of
    gains and shifts within 0.01 of zero. A mixture batch norm has a line for each branch.
    """
    from nofrost.data.arrays import write_arrays
    from nofrost.evaluate.properties import layer_statistics
    from nofrost.models import load_model
    from nofrost.system_errors import explain_write_errors

    if out is not None and out.suffix != ".npz":
        raise UserError(f"{out} does not end in .npz: choose a file name such as statistics.npz")
    statistics = layer_statistics(load_model(path))
    if out is not None:
        with explain_write_errors(out):
            write_arrays(out, statistics.arrays())
    metrics = statistics.metrics()
    emit(metrics, f"{_weight_norms(metrics)}\n{_batch_norms(metrics)}", as_json)


def _weight_norms(metrics: LayerMetrics) -> str:
    if metrics.weight_norms is None:
        return "no weights"
    rows = [
        (layer.layer, " x ".join(map(str, layer.shape)), f"{layer.frobenius:.4g}", f"{layer.spectral:.4g}")
        for layer in metrics.weight_norms.layers
    ]
    return aligned([("weights", "shape", "Frobenius", "spectral"), *rows])


def _batch_norms(metrics: LayerMetrics) -> str:
    if not metrics.batch_norm:
        return "no batch norm"
    rows: list[Sequence[str]] = [("batch norm", "branch", "mean", "variance", "gain", "shift", "near zero")]
    for layer in metrics.batch_norm:
        # A batch norm that keeps no statistics, or has no affine parameters, has no such values.
        ranges = (values or (nan, nan, nan) for values in (layer.mean, layer.variance, layer.weight, layer.bias))
        near_zero = (f"{share:.0%}" for share in (layer.weight_near_zero, layer.bias_near_zero) if share is not None)
        cells = (" ".join(f"{value:.3g}" for value in values) for values in ranges)
        rows.append((layer.layer, layer.branch, *cells, " ".join(near_zero)))
    return f"\n{aligned(rows)}"


@models.command("signal")
@click.option("--arch", required=True, help="Such as resnet20; see `nofrost models list`.")
@click.option("--normaliser", default="bn", show_default=True, help="Such as bn, gn, nf or none.")
@click.option("--image-size", type=SMALL, default=32, show_default=True, help="Height and width in pixels.")
@click.option("--channels", type=SMALL, default=3, show_default=True, help="1 for grey, 3 for colour.")
@click.option("--images", type=click.IntRange(2, 10**6), default=16, show_default=True, help="Number of inputs.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of weights and inputs.")
@json_option
def models_signal(
    arch: str, normaliser: str, image_size: int, channels: int, images: int, seed: int, as_json: bool
) -> None:
    """Print mean and variance after each block of a new network on normal input (signal propagation).

    The mean is squared and then averaged over channels: it stays near 0 unless a mean shift builds up. The expected
    variance is the one that the blocks of our own normaliser-free networks are designed for.
    """
    import torch

    from nofrost.models import create_model, signal_propagation

    torch.manual_seed(seed)
    model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=image_size, channels=channels)
    signals = signal_propagation(model, images=images, seed=seed)
    rows = [("block", "mean squared", "variance", "expected")]
    for block in signals:
        expected = "" if block.expected_variance is None else f"{block.expected_variance:.4g}"
        rows.append((block.name, f"{block.squared_mean:.4g}".rjust(12), f"{block.variance:.4g}".rjust(8), expected))
    emit([asdict(block) for block in signals], aligned(rows), as_json)
