"""VGG for 32 x 32 images, with and without a normaliser (Simonyan & Zisserman 2015; galloway2019)."""

import re

import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models.architectures.registry import WIDTH, register
from nofrost.models.classifier import Signature
from nofrost.models.layers import initialise

# Convolutions in each of five stages. The number in a name counts three linear layers as in the original; of these,
# networks for 32 x 32 images keep the last.
STAGES = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
SMALLEST = 32  # pixels: each of the five stages halves the image


class Vgg(nn.Module):
    """Five stages of 3x3 convolutions and 2x2 max-pooling; `width`, 2, 4, 8 and 8 times `width` channels."""

    def __init__(self, depth: int, width: int, signature: Signature) -> None:
        super().__init__()
        # a normaliser after the convolution would remove its bias
        bias = signature.normaliser == "none"
        layers: list[nn.Module] = []
        inputs = signature.channels
        for stage, count in enumerate(STAGES[depth]):
            outputs = width * min(2**stage, 8)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(signature.dropout)
        self.classifier = nn.Linear(inputs, signature.num_classes)
        initialise(self)

    def get_classifier(self) -> nn.Module:
        """Return the last layer (timm's name for it)."""
        return self.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W] of 32 pixels or more to logits [N, num_classes]."""
        return self.classifier(self.dropout(self.features(images).mean((2, 3))))  # type: ignore[no-any-return]


@register(
    "CIFAR VGG",
    citation="galloway2019; Simonyan & Zisserman 2015",
    names=tuple(f"cifar-vgg{depth}" for depth in STAGES),
    form="cifar-vggDEPTH-wWIDTH, width of the first stage from 8 on, 64 unless named",
    pattern=f"cifar-vgg(?P<depth>{'|'.join(map(str, STAGES))}){WIDTH}",
    drop_path=False,
)
def vgg(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the network; its convolutions have a bias only where no normaliser follows.

    Raises:
        UserError: the images are smaller than 32 pixels.
    """
    if min(signature.image_size) < SMALLEST:
        size = " x ".join(map(str, signature.image_size))
        raise UserError(
            f"arch {signature.arch!r} halves images five times and these have {size} pixels: take images of {SMALLEST} "
            "pixels or more (image_size), or another arch such as resnet20"
        )
    return Vgg(int(name["depth"]), int(name["width"] or 64), signature)
