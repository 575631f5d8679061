"""ResNet-18 to -152 for 32 x 32 images: a 3x3 stem, no pooling before the first stage (zeise2025)."""

import re

import torch
from torch import nn

from nofrost.models.architectures.blocks import EXPANSION, BasicBlock, Bottleneck
from nofrost.models.architectures.fixup import fix_up
from nofrost.models.architectures.registry import EXCHANGEABLE, WIDTH, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import drop_path_rates, initialise

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class CifarResNet(nn.Module):
    """Four stages of `width`, 2, 4 and 8 times `width` channels; layers are named as in zeise2025's Table 7."""

    def __init__(self, depth: int, width: int, signature: Signature) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(signature.channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        rates = iter(drop_path_rates(signature.drop_path, sum(BLOCKS[depth])))
        stages = []
        inputs = width
        for stage, count in enumerate(BLOCKS[depth]):
            outputs = width * 2**stage * (1 if depth < 50 else EXPANSION)
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append((BasicBlock if depth < 50 else Bottleneck)(inputs, outputs, stride, next(rates)))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(signature.dropout)
        self.linear = nn.Linear(inputs, signature.num_classes)
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
        features = torch.relu(self.bn1(self.conv1(images)))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        return self.linear(self.dropout(features.mean((2, 3))))  # type: ignore[no-any-return]


@register(
    "CIFAR ResNet",
    citation="zeise2025; He et al. 2016, widths and depths of the ImageNet networks",
    names=tuple(f"cifar-resnet{depth}" for depth in BLOCKS),
    form="cifar-resnetDEPTH-wWIDTH, width of the first stage from 8 on, 64 unless named",
    pattern=f"cifar-resnet(?P<depth>{'|'.join(map(str, BLOCKS))}){WIDTH}",
    normalisers=(*EXCHANGEABLE, "fixup"),
)
def cifar_resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the network; with 10 classes its parameters are those that zeise2025 counts in Tables 1, 2 and 4."""
    network = CifarResNet(int(name["depth"]), int(name["width"] or 64), signature)
    return fix_up(network, network.blocks) if signature.normaliser == "fixup" else network
