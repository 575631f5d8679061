"""Residual networks of depth 6n + 2 for small images (He et al. 2016 §4.2), with a normaliser, without, or Fixup."""

from __future__ import annotations

import re

from torch import nn

from nofrost.models.architectures.fixup import fix_up
from nofrost.models.architectures.registry import EXCHANGEABLE, register
from nofrost.models.classifier import Signature
from nofrost.models.residual import SmallResNet

DEPTHS = (8, 14, 20, 32, 44, 56, 110)


@register(
    "Small ResNet",
    source="He et al. 2016 §4.2; resnet110 with Fixup: 003",
    names=tuple(f"resnet{depth}" for depth in DEPTHS),
    pattern=f"resnet(?P<depth>{'|'.join(map(str, DEPTHS))})",
    normalisers=(*EXCHANGEABLE, "nf", "fixup"),
)
def small_resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build n = (depth - 2) / 6 blocks in each of three stages of 16, 32 and 64 channels."""
    network = SmallResNet(
        (int(name["depth"]) - 2) // 6,
        signature.channels,
        signature.num_classes,
        free=signature.normaliser == "nf",
        dropout=signature.dropout,
        drop_path=signature.drop_path,
    )
    return fix_up(network, list(network.stages)) if signature.normaliser == "fixup" else network
