"""BagNet: a ResNet-50 that sees patches of 9, 17 or 33 pixels only (Brendel & Bethge 2019; galloway2019)."""

import re

import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models.architectures.blocks import EXPANSION, Bottleneck
from nofrost.models.architectures.registry import WIDTH, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import drop_path_rates, initialise

BLOCKS = (3, 4, 6, 3)
STRIDES = (2, 2, 2, 1)
# Pixels that one patch is wide, and how many stages begin with a 3x3 convolution; all others are 1x1. None is padded.
STAGES_WITH_3X3 = {9: 2, 17: 3, 33: 4}


class BagNet(nn.Module):
    """Four stages of bottleneck blocks over patches; layers are named as in a ResNet-50."""

    def __init__(self, patch: int, width: int, signature: Signature) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(signature.channels, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        rates = iter(drop_path_rates(signature.drop_path, sum(BLOCKS)))
        stages = []
        inputs = width
        for stage, (count, stride) in enumerate(zip(BLOCKS, STRIDES, strict=True)):
            outputs = width * 2**stage * EXPANSION
            blocks = []
            for index in range(count):
                kernel = 3 if index == 0 and stage < STAGES_WITH_3X3[patch] else 1
                step = stride if index == 0 else 1
                blocks.append(Bottleneck(inputs, outputs, step, next(rates), kernel=kernel, padding=0))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(signature.dropout)
        self.fc = nn.Linear(inputs, signature.num_classes)
        initialise(self)

    def get_classifier(self) -> nn.Module:
        """Return the last layer (timm's name for it)."""
        return self.fc

    def forward_patches(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to features [N, F, h, w], each of one patch of the image."""
        features = torch.relu(self.bn1(self.conv2(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(features))))  # type: ignore[no-any-return]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] to logits [N, num_classes], the mean over all patches."""
        return self.fc(self.dropout(self.forward_patches(images).mean((2, 3))))  # type: ignore[no-any-return]


@register(
    "BagNet",
    citation="galloway2019; Brendel & Bethge 2019",
    names=tuple(f"bagnet{patch}" for patch in STAGES_WITH_3X3),
    form="bagnetPATCH-wWIDTH, width of the first stage from 8 on, 64 unless named",
    pattern=f"bagnet(?P<patch>{'|'.join(map(str, STAGES_WITH_3X3))}){WIDTH}",
)
def bagnet(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the network.

    Raises:
        UserError: the images are smaller than a patch.
    """
    patch = int(name["patch"])
    if min(signature.image_size) < patch:
        size = " x ".join(map(str, signature.image_size))
        raise UserError(
            f"arch {signature.arch!r} looks at patches of {patch} pixels and these images have {size}: take images of "
            f"{patch} pixels or more (image_size), or bagnet9"
        )
    return BagNet(patch, int(name["width"] or 64), signature)
