"""Models by name: our own families and every architecture of timm, with a chosen normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import nn

from nofrost.config.model import MixtureInference, Normaliser
from nofrost.errors import UserError, unknown
from nofrost.models.architectures import TIMM, Family, families, find_family, own_names
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.mixture import Selector
from nofrost.models.normalisers import check_maps, replace_batch_norm

NORMALISERS = get_args(Normaliser)
FORMS = {"nf": "normaliser-free", "fixup": "Fixup"}  # which an architecture has or has not; no layer is exchanged


def create_model(
    arch: str,
    *,
    normaliser: str = "bn",
    num_classes: int,
    image_size: int | tuple[int, int],
    channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    affine: bool = True,
    normaliser_eps: float | None = None,
    groups: int = 32,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    mixture_weight: float = 0.5,
    mixture_inference: MixtureInference = "logits",
    mixture_share: float = 0.5,
    classes: Sequence[str] = (),
) -> Classifier:
    """Return a new classifier with random weights, in training mode.

    Args:
        arch: a name that `nofrost models list` prints (docs/models.md), or any name of timm.
        normaliser: ``bn``, ``mbn`` (mixture), ``gn``, ``in``, ``ln``, ``nf`` (normaliser-free network), ``fixup`` or
            ``none``.
        num_classes: at least 2.
        image_size: height and width in pixels; one number for squares.
        channels: 1 for grey, 3 for colour.
        mean, std: of the training pixels by channel, in [0, 1]; 0.5 and 0.25 when not given.
        affine: whether normalisers have a learnt scale and shift.
        normaliser_eps: the constant in their denominator (galloway2019: c), above 0; the architecture's own when not given.
        groups: of channels, for ``gn``.
        dropout: share of features dropped before the last layer, in training.
        drop_path: share of residual branches dropped at the last block, in training; grows linearly with depth.
        mixture_weight: γ in [0, 1], the share of the adversarial branch in a deployed mixture-BN model.
        mixture_inference: where that model mixes its branches: ``logits``, ``all`` or ``random`` (wang2022 App. A).
        mixture_share: share of its layers that mix, for ``random``.
        classes: names of the classes, kept with the checkpoint.

    Raises:
        UserError: there is no such architecture or normaliser, or the two, or one and the images, cannot be combined.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return build(
        Signature(
            arch=arch,
            normaliser=normaliser,
            num_classes=num_classes,
            image_size=size,
            channels=channels,
            mean=tuple(mean) if mean is not None else (0.5,) * channels,
            std=tuple(std) if std is not None else (0.25,) * channels,
            affine=affine,
            normaliser_eps=normaliser_eps,
            groups=groups,
            dropout=dropout,
            drop_path=drop_path,
            mixture_weight=mixture_weight,
            mixture_inference=mixture_inference,
            mixture_share=mixture_share,
            classes=tuple(classes),
        )
    )


def build(signature: Signature) -> Classifier:
    """Return a new classifier of this signature, with random weights; raises like :func:`create_model`."""
    family = find_family(signature.arch) or TIMM
    _check(signature, family)
    selector = Selector(signature.mixture_weight)
    network = family.network(signature)
    if signature.normaliser not in FORMS:
        network = replace_batch_norm(
            network,
            signature.normaliser,
            selector,
            affine=signature.affine,
            eps=signature.normaliser_eps,
            groups=signature.groups,
        )
        check_maps(network, signature.image_size, signature.channels)
    for layer in network.modules():
        # timm's weight standardisation reshapes its weights, and would keep a copy of each for the backward pass
        if isinstance(layer, nn.Conv2d) and type(layer).__module__ != "timm.layers.std_conv":
            layer.to(memory_format=torch.channels_last)
    return Classifier(network, signature, selector)


def model_names() -> list[str]:
    """Return the names of all architectures, our own first."""
    import timm

    return list(dict.fromkeys([*own_names(), *timm.list_models()]))


def _check(signature: Signature, family: Family) -> None:
    arch, normaliser = signature.arch, signature.normaliser
    if normaliser not in NORMALISERS:
        raise unknown("normaliser", normaliser, NORMALISERS)
    if signature.num_classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, got {signature.num_classes}: check the dataset")
    if normaliser not in family.normalisers:
        raise _refused(arch, normaliser, family)
    for name in ("dropout", "drop_path"):
        if getattr(signature, name) and not getattr(family, name):
            raise UserError(f"arch {arch!r} has no {name}: set {name} to 0, or choose another arch such as resnet20")
    if normaliser in (*FORMS, "none") and not (signature.affine and signature.normaliser_eps is None):
        setting = "normaliser_eps" if signature.affine else "affine"
        raise UserError(f"{setting} is for normalisers and {arch!r} with {normaliser!r} has none: leave it out")


def _refused(arch: str, normaliser: str, family: Family) -> UserError:
    if normaliser in FORMS:
        have = [name for each in families() if normaliser in each.normalisers for name in each.names]
        return UserError(f"arch {arch!r} has no {FORMS[normaliser]} form: choose such as {', '.join(have)}")
    if family.normalisers == ("nf",):
        return UserError(f"arch {arch!r} is normaliser-free and cannot have {normaliser!r}: set normaliser to nf")
    return UserError(f"arch {arch!r} cannot have normaliser {normaliser!r}: choose {', '.join(family.normalisers)}")
