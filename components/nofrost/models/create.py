"""Models by name: small residual networks of our own and every architecture of timm, with a chosen normaliser."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import nn

from nofrost.config.model import Normaliser
from nofrost.errors import UserError, unknown
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.mixture import Selector
from nofrost.models.normalisers import replace_batch_norm
from nofrost.models.residual import SmallResNet

SMALL_RESNETS = {"resnet8": 1, "resnet14": 2, "resnet20": 3}
# The normaliser-free counterpart in timm: same widths and depths, same number of parameters.
NF_COUNTERPARTS = {"resnet26": "nf_resnet26", "resnet50": "nf_resnet50", "resnet101": "nf_resnet101"}
NORMALISERS = get_args(Normaliser)


def create_model(
    arch: str,
    *,
    normaliser: str = "bn",
    num_classes: int,
    image_size: int | tuple[int, int],
    channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    mixture_weight: float = 0.5,
    classes: Sequence[str] = (),
) -> Classifier:
    """Return a new classifier with random weights, in training mode.

    Args:
        arch: ``resnet8``, ``resnet14``, ``resnet20`` (for 16 to 64 pixels) or any name of timm.
        normaliser: ``bn``, ``mbn`` (mixture), ``gn``, ``in``, ``nf`` (normaliser-free network) or ``none``.
        num_classes: at least 2.
        image_size: height and width in pixels; one number for squares.
        channels: 1 for grey, 3 for colour.
        mean, std: of the training pixels by channel, in [0, 1]; 0.5 and 0.25 when not given.
        dropout: share of features dropped before the last layer, in training.
        drop_path: share of residual branches dropped at the last block, in training; grows linearly with depth.
        mixture_weight: γ in [0, 1], the share of the adversarial branch in a deployed mixture-BN model.
        classes: names of the classes, kept with the checkpoint.

    Raises:
        UserError: there is no such architecture or normaliser, or the two cannot be combined.
    """
    if normaliser not in NORMALISERS:
        raise unknown("normaliser", normaliser, NORMALISERS)
    if num_classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, got {num_classes}: check the dataset")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    signature = Signature(
        arch=arch,
        normaliser=normaliser,
        num_classes=num_classes,
        image_size=size,
        channels=channels,
        mean=tuple(mean) if mean is not None else (0.5,) * channels,
        std=tuple(std) if std is not None else (0.25,) * channels,
        dropout=dropout,
        drop_path=drop_path,
        mixture_weight=mixture_weight,
        classes=tuple(classes),
    )
    return build(signature)


def build(signature: Signature) -> Classifier:
    """Return a new classifier of this signature, with random weights; raises like :func:`create_model`."""
    selector = Selector(signature.mixture_weight)
    network = _small(signature) if signature.arch in SMALL_RESNETS else _timm(signature)
    if signature.normaliser != "nf":
        network = replace_batch_norm(network, signature.normaliser, selector)
    # Convolutions are a fifth faster with channels last, on the CPU and on GPUs; images may come in any layout.
    return Classifier(network, signature, selector).to(memory_format=torch.channels_last)


def model_names() -> list[str]:
    """Return the names of all architectures, our own first."""
    import timm

    return [*SMALL_RESNETS, *timm.list_models()]


def _small(signature: Signature) -> nn.Module:
    return SmallResNet(
        SMALL_RESNETS[signature.arch],
        signature.channels,
        signature.num_classes,
        free=signature.normaliser == "nf",
        dropout=signature.dropout,
        drop_path=signature.drop_path,
    )


def _timm(signature: Signature) -> nn.Module:
    import timm  # here, as it takes seconds and the small networks do without

    name = signature.arch
    if signature.normaliser == "nf":
        name = NF_COUNTERPARTS.get(name, name)
        if not name.startswith(("nf_", "nfnet", "dm_nfnet", "eca_nfnet")):
            own = ", ".join([*SMALL_RESNETS, *NF_COUNTERPARTS])
            raise UserError(
                f"arch {signature.arch!r} has no normaliser-free form: choose {own}, or a timm nf_* or nfnet_* name"
            )
    if name not in timm.list_models():
        known = model_names()
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise UserError(f"unknown arch {name!r}: {hint}`nofrost models list` prints the {len(known)} that are known")
    options: dict[str, Any] = {"num_classes": signature.num_classes, "in_chans": signature.channels}
    if signature.dropout:
        options["drop_rate"] = signature.dropout
    if signature.drop_path:
        options["drop_path_rate"] = signature.drop_path
    if timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = signature.image_size
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise UserError(f"arch {name!r} cannot be built with {options}: {error}") from None
    return network
