"""Wide residual networks with pre-activation, with a normaliser or Fixup (Zagoruyko & Komodakis 2016; galloway2019)."""

import re

import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models.activations import activation_of
from nofrost.models.architectures.blocks import PreactivationBlock
from nofrost.models.architectures.fixup import fix_up
from nofrost.models.architectures.registry import EXCHANGEABLE, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import drop_path_rates, initialise

STEM = 16  # channels before the first stage; the stages have 16, 32 and 64 times the width


class WideResNet(nn.Module):
    """`blocks` blocks in each of three stages of 16, 32 and 64 times `width` channels."""

    def __init__(self, blocks: int, width: int, signature: Signature) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(signature.channels, STEM, 3, 1, 1, bias=False)
        self.activation = activation_of(signature.activation).function
        rates = iter(drop_path_rates(signature.drop_path, 3 * blocks))
        layers = []
        inputs = STEM
        for stage in range(3):
            outputs = STEM * width * 2**stage
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(PreactivationBlock(inputs, outputs, stride, next(rates), self.activation))
                inputs = outputs
        self.stages = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inputs)
        self.dropout = nn.Dropout(signature.dropout)
        self.fc = nn.Linear(inputs, signature.num_classes)
        initialise(self)

    def get_classifier(self) -> nn.Module:
        """Return the last layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to logits [N, num_classes]."""
        features = self.activation(self.bn(self.stages(self.conv1(images))))
        return self.fc(self.dropout(features.mean((2, 3))))  # type: ignore[no-any-return]


@register(
    "Wide ResNet",
    citation="galloway2019; Zagoruyko & Komodakis 2016",
    names=("wrn-10-1", "wrn-16-1", "wrn-16-4", "wrn-28-10", "wrn-34-10"),
    form="wrn-DEPTH-WIDTH, with depth 6n + 4",
    pattern=r"wrn-(?P<depth>[1-9][0-9]*)-(?P<width>[1-9][0-9]*)",
    normalisers=(*EXCHANGEABLE, "fixup"),
    activation=True,
)
def wide_resnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build n = (depth - 4) / 6 blocks in each stage.

    Raises:
        UserError: the depth is not 6n + 4.
    """
    blocks, rest = divmod(int(name["depth"]) - 4, 6)
    if rest or blocks < 1:
        near = max(blocks, 1)
        raise UserError(
            f"arch {signature.arch!r} has a depth that is not 6n + 4: choose such as "
            f"wrn-{6 * near + 4}-{name['width']} or wrn-{6 * near + 10}-{name['width']}"
        )
    network = WideResNet(blocks, int(name["width"]), signature)
    return fix_up(network, list(network.stages)) if signature.normaliser == "fixup" else network
