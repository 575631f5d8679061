"""EDSR (Lim et al. 2017, baseline): super-resolution by four with residual blocks.

The first network of DeepAugment.
"""

from collections.abc import Callable, Collection
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nofrost.augment.deepaugment.padding import padded_to_multiple
from nofrost.config.base import Schema

SCALE = 4
# Pixels inside of the network run to 255, as the published weights expect; distortions by GELU depend on it too
PIXEL_RANGE = 255
MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K's colours, which the published weights expect to be subtracted
FIRST_PART = 5  # of the body; features are distorted behind it

Change = Callable[[Tensor], Tensor]


class EdsrSpec(Schema):
    """The settings from which the network is built; stored beside its weights. Lim et al.'s baseline is the default."""

    format: Literal[1] = 1
    architecture: Literal["edsr"] = "edsr"
    channels: Literal[1, 3]
    width: int = Field(default=64, ge=2, le=4096)
    blocks: int = Field(default=16, ge=FIRST_PART + 1, le=256)


class ResidualBlock(nn.Module):
    """Two convolutions with a skip around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return cast(Tensor, features + self.second(F.relu(self.first(features))))


class Edsr(nn.Module):
    """Reconstructs images [N, C, H, W] in [0, 1] of any size from a quarter of their height and width.

    Images are first reduced by four (bilinear, antialiased), so that the output has the size of the input.
    """

    def __init__(self, spec: EdsrSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.head = nn.Conv2d(spec.channels, width, 3, padding=1)
        self.body = nn.ModuleList(ResidualBlock(width) for _ in range(spec.blocks))
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.expand = nn.ModuleList(nn.Conv2d(width, 4 * width, 3, padding=1) for _ in range(2))
        self.tail = nn.Conv2d(width, spec.channels, 3, padding=1)

    def forward(
        self,
        images: Tensor,
        head: Change | None = None,
        middle: Change | None = None,
        skipped: Collection[int] = (),
    ) -> Tensor:
        """Return the reconstruction, not clipped.

        Args:
            images: float [N, C, H, W] in [0, 1].
            head: changes the features that enter the body.
            middle: changes the features inside of the body, behind its fifth block.
            skipped: blocks that are left out; their number is that of the last convolution of the body.
        """
        height, width = images.shape[2:]
        padded = padded_to_multiple(images, SCALE)
        reduced = F.interpolate(padded, scale_factor=1 / SCALE, mode="bilinear", antialias=True)
        mean = images.new_tensor(MEAN).view(1, 3, 1, 1)
        mean = mean if self.spec.channels == 3 else mean.mean(dim=1, keepdim=True)
        features = self.head((reduced - mean) * PIXEL_RANGE)
        features = head(features) if head else features
        refined = features
        for number, block in enumerate((*self.body, self.merge)):
            if middle and number == FIRST_PART:
                refined = middle(refined)
            if number not in skipped:
                refined = block(refined)
        refined = features + refined
        for expand in self.expand:
            refined = F.pixel_shuffle(expand(refined), 2)
        output: Tensor = self.tail(refined) / PIXEL_RANGE + mean
        return output[..., :height, :width]

    def noise(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return arguments of :meth:`forward` while it is trained: none."""
        return {}
