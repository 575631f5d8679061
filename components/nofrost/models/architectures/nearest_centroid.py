"""The nearest-centroid classifier (galloway2019 §3 and Table 1, after Tanay & Griffin 2016)."""

import re

import torch
from torch import nn

from nofrost.models.architectures.registry import register
from nofrost.models.classifier import Signature


class CentroidLayer(nn.Linear):
    """Logits w_c·x - |w_c|²/2: the largest is that of the nearest centroid w_c, and equals -|x - w_c|²/2 but for a
    summand that all classes share."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(inputs, num_classes, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map [N, inputs] to logits [N, num_classes]."""
        return super().forward(features) - self.weight.square().sum(1) / 2


class NearestCentroid(nn.Module):
    """The nearest of the `num_classes` centroids to the normalised image as a vector."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.fc = CentroidLayer(inputs, num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last and only layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W], of one size, to logits [N, num_classes]."""
        return self.fc(images.flatten(1))  # type: ignore[no-any-return]


@register(
    "Nearest centroid",
    citation="galloway2019 §3, Table 1",
    names=("nearest-centroid",),
    pattern="nearest-centroid",
    normalisers=("none",),
    dropout=False,
    drop_path=False,
)
def nearest_centroid(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the classifier with centroids of zero, which the objective ``nearest-centroid`` sets."""
    height, width = signature.image_size
    return NearestCentroid(signature.channels * height * width, signature.num_classes)
