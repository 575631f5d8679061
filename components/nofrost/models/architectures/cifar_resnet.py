"""ResNet-18 to -152 for 32 x 32 images: a 3x3 stem, no pooling before the first stage (zeise2025).

The normaliser-free form has the same number of parameters, as in `small_resnet`.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import nn

from nofrost.models.activations import activation_of
from nofrost.models.architectures.blocks import (
    EXPANSION,
    BasicBlock,
    Bottleneck,
    NFBlock,
    NFBottleneck,
    normaliser_free,
    with_batch_norm,
)
from nofrost.models.architectures.fixup import fix_up
from nofrost.models.architectures.registry import EXCHANGEABLE, WIDTH, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import ScaledStdConv2d, drop_path_rates, initialise

# Scale of a residual branch in the normaliser-free network, as in small_resnet: stages are short here too.
ALPHA = 1.0
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class CifarResNet(nn.Module):
    """Four stages of `width`, 2, 4 and 8 times `width` channels; layers are named as in zeise2025's Table 7."""

    def __init__(self, depth: int, width: int, signature: Signature) -> None:
        super().__init__()
        self.free = signature.normaliser == "nf"
        activation = activation_of(signature.activation)
        self.activation = activation.function
        channels, small = signature.channels, depth < 50
        self.conv1 = (
            ScaledStdConv2d(channels, width, 3, 1, 1, gamma=1.0)
            if self.free
            else nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        )
        self.bn1: nn.Module = nn.Identity() if self.free else nn.BatchNorm2d(width)
        counts = BLOCKS[depth]
        rates = drop_path_rates(signature.drop_path, sum(counts))
        shapes = [
            (width * 2**stage * (1 if small else EXPANSION), 2 if stage > 0 and index == 0 else 1)
            for stage, count in enumerate(counts)
            for index in range(count)
        ]
        blocks: Sequence[nn.Module]
        if self.free:
            blocks = normaliser_free(NFBlock if small else NFBottleneck, width, shapes, rates, activation, ALPHA)
        else:
            blocks = with_batch_norm(BasicBlock if small else Bottleneck, width, shapes, rates, activation)
        ends = list(accumulate(counts, initial=0))
        stages = [nn.Sequential(*blocks[begin:end]) for begin, end in pairwise(ends)]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(signature.dropout)
        self.linear = nn.Linear(shapes[-1][0], signature.num_classes)
        initialise(self)

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks, from the first to the last."""
        return [*self.layer1, *self.layer2, *self.layer3, *self.layer4]

    def get_classifier(self) -> nn.Module:
        """Return the last layer (timm's name for it)."""
        return self.linear

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to logits [N, num_classes]."""
        features = self.bn1(self.conv1(images))
        if not self.free:
            features = self.activation(features)
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        pooled = (self.activation(features) if self.free else features).mean((2, 3))
        return self.linear(self.dropout(pooled))  # type: ignore[no-any-return]


@register(
    "CIFAR ResNet",
    citation="zeise2025; He et al. 2016, widths and depths of the ImageNet networks",
    names=tuple(f"cifar-resnet{depth}" for depth in BLOCKS),
    form="cifar-resnetDEPTH-wWIDTH, width of the first stage from 8 on, 64 unless named",
    pattern=f"cifar-resnet(?P<depth>{'|'.join(map(str, BLOCKS))}){WIDTH}",
    normalisers=(*EXCHANGEABLE, "nf", "fixup"),
    activation=True,
)
def cifar_resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the network; with 10 classes its parameters are those that zeise2025 counts in Tables 1, 2 and 4."""
    network = CifarResNet(int(name["depth"]), int(name["width"] or 64), signature)
    return fix_up(network, network.blocks) if signature.normaliser == "fixup" else network
