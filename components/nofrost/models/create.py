"""Models by name: our own families and every architecture of timm, with a chosen normaliser."""

import fnmatch
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from nofrost.config.base import MOST
from nofrost.config.model import Normaliser
from nofrost.config.validation import sentence
from nofrost.errors import UserError, unknown
from nofrost.models.architectures import Family, families, family_of, own_names
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.device import raise_on_oom
from nofrost.models.mixture import Selector
from nofrost.models.normalisers import check_maps, replace_batch_norm
from nofrost.models.trial import images_refused

# "Normalisers" that are another form of the network, which only some architectures have, and not layers to put in.
FORMS = {"nf": "normaliser-free", "fixup": "Fixup"}


def create_model(
    arch: str,
    *,
    normaliser: str = "bn",
    num_classes: int,
    image_size: int | tuple[int, int],
    channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **settings: Any,
) -> Classifier:
    """Return a new classifier with random weights, in training mode.

    Args:
        arch: a name that `nofrost models list` prints (docs/models.md), or any name of timm.
        normaliser: ``bn``, ``mbn`` (mixture), ``gn``, ``in``, ``ln``, ``nf`` (normaliser-free network), ``fixup`` or
            ``none``.
        num_classes: at least 2.
        image_size: height and width in pixels; one number for squares.
        channels: 1 for grey, 3 for colour.
        mean, std: of the training pixels by channel, in [0, 1]; 0.5 and 0.25 when None.
        settings: of the architecture, such as ``dropout=0.1``: the fields of
            :class:`nofrost.config.model.Architecture`; and `classes`, the names of the classes.

    Raises:
        UserError: there is no such architecture, normaliser or setting, or a value is out of its range; or the
            architecture cannot be combined with the normaliser or the images.
    """
    values = {
        "arch": arch,
        "normaliser": normaliser,
        "num_classes": num_classes,
        "image_size": (image_size, image_size) if isinstance(image_size, int) else image_size,
        "channels": channels,
        "mean": (0.5,) * min(channels, MOST) if mean is None else tuple(mean),
        "std": (0.25,) * min(channels, MOST) if std is None else tuple(std),
        **settings,
    }
    try:
        signature = Signature.model_validate(values)
    except ValidationError as error:
        raise UserError(sentence(error, Signature, f"arch {arch!r}")) from None
    return build(signature)


@dataclass(frozen=True)
class Size:
    """How many parameters a network has, and how many numbers they hold together."""

    tensors: int
    elements: int


# Larger than any network that there is: ResNet-638 has 4,500 parameters while its batch norms become mixtures, and
# timm's largest network 6.7 · 10^9 numbers.
LARGEST = Size(8_000, 20_000_000_000)


def build(signature: Signature, limit: Size = LARGEST, too_large: str | None = None) -> Classifier:
    """Return a new classifier of this signature, with random weights.

    Args:
        limit: a network that turns out to be larger while it is built is refused.
        too_large: begins the message that says so.

    Raises:
        UserError: as :func:`create_model`; the network is too large, or memory does not hold it.
    """
    arch = signature.arch
    family = family_of(arch)
    _check(signature, family)
    selector = Selector(signature.mixture_weight)
    too_large = too_large or f"arch {arch!r} is larger than any network should be"
    with raise_on_oom(f"memory does not hold arch {arch!r}: choose a smaller one"), _at_most(limit, too_large):
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
            with images_refused(signature):
                check_maps(network, signature.image_size, signature.channels)
    for layer in network.modules():
        # timm's weight standardisation reshapes its weights, and would keep a copy of each for the backward pass
        if isinstance(layer, nn.Conv2d) and type(layer).__module__ != "timm.layers.std_conv":
            layer.to(memory_format=torch.channels_last)
    return Classifier(network, signature, selector)


@contextmanager
def _at_most(limit: Size, too_large: str) -> Iterator[None]:
    """Refuse a network inside the block as soon as it is larger, before its other layers take memory and time."""
    tensors = elements = 0
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal tensors, elements
        # The hook is of all threads
        if threading.get_ident() != thread:
            return
        tensors, elements = tensors + 1, elements + parameter.numel()
        if tensors > limit.tensors or elements > limit.elements:
            raise UserError(
                f"{too_large} (more than {limit.tensors:,} parameters or {limit.elements:,} numbers): choose another"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def list_models(pattern: str = "*", *, normaliser: str | None = None) -> list[str]:
    """Return the names of the architectures that match `pattern`, our own before timm's.

    Args:
        pattern: a shell pattern, such as ``"nf_*"`` or ``"*resnet*"``.
        normaliser: list only architectures that support it, such as ``"fixup"``.

    Raises:
        UserError: there is no such normaliser.
    """
    import timm

    if normaliser is not None and normaliser not in get_args(Normaliser):
        raise unknown("normaliser", normaliser, get_args(Normaliser))
    names = fnmatch.filter(dict.fromkeys([*own_names(), *timm.list_models()]), pattern)
    return [name for name in names if normaliser is None or normaliser in family_of(name).normalisers]


def _check(signature: Signature, family: Family) -> None:
    arch, normaliser = signature.arch, signature.normaliser
    if signature.num_classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, got {signature.num_classes}: check the dataset")
    if normaliser not in family.normalisers:
        raise _unavailable(arch, normaliser, family)
    for name in ("dropout", "drop_path"):
        if getattr(signature, name) and not getattr(family, name):
            raise UserError(f"arch {arch!r} has no {name}: set {name} to 0, or choose another arch such as resnet20")
    if signature.activation is not None and not family.activation:
        names = ", ".join(other.names[0] for other in families() if other.activation)
        raise UserError(
            f"arch {arch!r} has an activation of its own: leave out activation, or choose another arch such as {names}"
        )
    if normaliser in (*FORMS, "none") and not (signature.affine and signature.normaliser_eps is None):
        setting = "normaliser_eps" if signature.affine else "affine"
        raise UserError(f"{setting} is for normalisers and {arch!r} with {normaliser!r} has none: leave it out")


def _unavailable(arch: str, normaliser: str, family: Family) -> UserError:
    if normaliser in FORMS:
        names = [name for other in families() if normaliser in other.normalisers for name in other.names]
        return UserError(f"arch {arch!r} has no {FORMS[normaliser]} form: choose one of {', '.join(names)}")
    if family.normalisers == ("nf",):
        return UserError(f"arch {arch!r} is normaliser-free and cannot have {normaliser!r}: set normaliser to nf")
    return UserError(f"arch {arch!r} cannot have normaliser {normaliser!r}: choose {', '.join(family.normalisers)}")
