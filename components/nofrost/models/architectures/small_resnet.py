"""Residual networks of depth 6n + 2 for small images (He et al. 2016 §4.2), with a normaliser, without, or Fixup.

One body serves the first two. With a normaliser: convolution, norm, ReLU, sum, ReLU. Normaliser-free (Brock et al.
2021a): h + α·f(ReLU(h/β)) with scaled weight standardisation. Both have the same number of parameters, as gain and
bias of a standardised convolution take the place of a batch norm's scale and shift.
"""

import re

import torch
from torch import nn

from nofrost.models.activations import RELU, Activation, activation_of
from nofrost.models.architectures.blocks import BasicBlock, NFBlock, normaliser_free, with_batch_norm
from nofrost.models.architectures.fixup import fix_up
from nofrost.models.architectures.registry import EXCHANGEABLE, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import ScaledStdConv2d, drop_path_rates, initialise

DEPTHS = (8, 14, 20, 32, 44, 56, 110)
WIDTHS = (16, 32, 64)
# Scale of a residual branch in the normaliser-free network. Brock et al. 2021a use 0.2, for dozens of blocks; in these
# networks of three to nine, 0.2 leaves the branches almost no effect and training is slow (92 against 99 % on digits).
ALPHA = 1.0


class SmallResNet(nn.Module):
    """Residual network of depth 6n + 2 with `blocks` = n blocks in each of three stages; `alpha` is that of NFBlock."""

    def __init__(
        self,
        blocks: int,
        channels: int,
        num_classes: int,
        *,
        free: bool,
        dropout: float,
        drop_path: float,
        activation: Activation = RELU,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__()
        self.free, self.activation = free, activation.function
        stem = WIDTHS[0]
        self.conv1: nn.Module = (
            ScaledStdConv2d(channels, stem, 3, 1, 1, gamma=1.0)
            if free
            else nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        )
        self.bn1: nn.Module = nn.Identity() if free else nn.BatchNorm2d(stem)
        rates = drop_path_rates(drop_path, 3 * blocks)
        shapes = [
            (width, 2 if stage > 0 and index == 0 else 1)
            for stage, width in enumerate(WIDTHS)
            for index in range(blocks)
        ]
        self.stages = nn.Sequential(
            *(
                normaliser_free(NFBlock, stem, shapes, rates, activation, alpha)
                if free
                else with_batch_norm(BasicBlock, stem, shapes, rates, activation)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        initialise(self)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def get_classifier(self) -> nn.Linear:
        """Return the last layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to logits [N, num_classes]."""
        features = self.bn1(self.conv1(images))
        features = self.stages(features if self.free else self.activation(features))
        pooled = (self.activation(features) if self.free else features).mean((2, 3))
        return self.fc(self.dropout(pooled))  # type: ignore[no-any-return]


@register(
    "Small ResNet",
    citation="He et al. 2016 §4.2; resnet110 with Fixup: galloway2019",
    names=tuple(f"resnet{depth}" for depth in DEPTHS),
    pattern=f"resnet(?P<depth>{'|'.join(map(str, DEPTHS))})",
    normalisers=(*EXCHANGEABLE, "nf", "fixup"),
    activation=True,
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
        activation=activation_of(signature.activation),
    )
    return fix_up(network, list(network.stages)) if signature.normaliser == "fixup" else network
