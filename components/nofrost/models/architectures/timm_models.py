"""Networks that timm builds: ResNets for ImageNet, deeper ones, normaliser-free ones, and any other."""

import difflib
import re
from typing import Any

from torch import nn

from nofrost.errors import UserError, reason, shortened
from nofrost.models.architectures.registry import EXCHANGEABLE, Family, own_names, register
from nofrost.models.classifier import Signature
from nofrost.models.device import out_of_memory

# xie2020 §5 goes deeper "by adding more residual blocks" and prints no lists. Ours are ResNet-200's (3, 24, 36, 3) with
# a longer third stage: 3 · blocks + 2 layers.
DEEPER = {338: (3, 24, 82, 3), 518: (3, 24, 142, 3), 638: (3, 24, 182, 3)}


@register(
    "ResNet",
    citation="wang2022; He et al. 2016; normaliser-free: Brock et al. 2021a",
    names=("resnet26", "resnet50", "resnet101"),
    pattern="resnet(26|50|101)",
    normalisers=(*EXCHANGEABLE, "nf"),
)
def resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build timm's network, or its normaliser-free counterpart: same widths, depths and number of parameters."""
    arch = signature.arch
    return timm_network(f"nf_{arch}" if signature.normaliser == "nf" else arch, signature)


@register(
    "Deep ResNet",
    citation="xie2020; He et al. 2016",
    names=("resnet152", "resnet200", *(f"resnet{depth}" for depth in DEEPER)),
    pattern=f"resnet(?P<depth>152|200|{'|'.join(map(str, DEEPER))})",
)
def deep_resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build timm's network, or one of timm's kind with more blocks."""
    blocks = DEEPER.get(int(name["depth"]))
    if blocks is None:
        return timm_network(signature.arch, signature)
    from timm.models.resnet import Bottleneck, ResNet

    network: nn.Module = ResNet(
        Bottleneck,  # type: ignore[arg-type]
        blocks,
        num_classes=signature.num_classes,
        in_chans=signature.channels,
        drop_rate=signature.dropout,
        drop_path_rate=signature.drop_path,
    )
    return network


@register(
    "Normaliser-free",
    citation="wang2022; Brock et al. 2021a and 2021b",
    names=("nf_resnet26", "nf_resnet50", "nfnet_f0", "dm_nfnet_f0"),
    form="any name of timm that begins with nf_, nfnet_, dm_nfnet_ or eca_nfnet_",
    pattern="nf_.+|(dm_|eca_|test_)?nfnet.*",
    normalisers=("nf",),
)
def normaliser_free(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build timm's network."""
    return timm_network(signature.arch, signature)


def timm_network(arch: str, signature: Signature) -> nn.Module:
    """Return timm's network of this name for the images and classes of the signature.

    Raises:
        UserError: timm has no such network, or cannot build it so.
    """
    # not at the top: it takes seconds, and most of our own networks do not need it
    import timm

    if arch not in timm.list_models():
        raise _unknown(arch, timm.list_models())
    options: dict[str, Any] = {"num_classes": signature.num_classes, "in_chans": signature.channels}
    if signature.dropout:
        options["drop_rate"] = signature.dropout
    if signature.drop_path:
        options["drop_path_rate"] = signature.drop_path
    if timm.get_pretrained_cfg_value(arch, "fixed_input_size"):
        options["img_size"] = signature.image_size
    try:
        network: nn.Module = timm.create_model(arch, pretrained=False, **options)
    # timm checks few arguments, and what a network cannot be built with fails in any of its lines
    except Exception as error:
        if isinstance(error, UserError) or out_of_memory(error):
            raise
        raise UserError(f"arch {arch!r} cannot be built with {options} ({reason(error)}): choose another") from None
    return network


def _unknown(arch: str, timm_names: list[str]) -> UserError:
    known = list(dict.fromkeys([*own_names(), *timm_names]))
    close = difflib.get_close_matches(arch, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return UserError(
        f"unknown arch {shortened(arch)}: {hint}`nofrost models list PATTERN` searches the {len(known)} that are known"
    )


TIMM = Family(
    title="timm",
    citation="Wightman 2019",
    names=(),
    form="any other name of timm; `nofrost models list PATTERN` searches them",
    pattern=re.compile(".*", re.DOTALL),
    normalisers=EXCHANGEABLE,
    build=lambda signature, name: timm_network(signature.arch, signature),
    dropout=True,
    drop_path=True,
)
