"""The small image-to-image network: a convolutional encoder and decoder at the images' own size."""

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nofrost.config.base import Schema

Convolve = Callable[[nn.Conv2d, Tensor], Tensor]


class EncoderDecoderSpec(Schema):
    """The settings from which the network is built; stored beside its weights."""

    format: Literal[1] = 1
    architecture: Literal["residual-encoder-decoder"] = "residual-encoder-decoder"
    channels: Literal[1, 3]
    width: int = Field(ge=1, le=4096)
    blocks: int = Field(default=4, ge=1, le=256)


class ReconstructionNetwork(nn.Module):
    """Reconstructs its input, images [N, C, H, W] in [0, 1] of any size.

    DeepAugment uses a compressive autoencoder and EDSR, a super-resolution network. This one combines what they have in
    common, at the images' own size: a strided convolution encodes to half the resolution; residual blocks with a
    long skip (EDSR's body) and sub-pixel upsampling decode. No skip bypasses the features, so every change of them
    shows in the image.
    """

    def __init__(self, spec: EncoderDecoderSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.encode = nn.Conv2d(spec.channels, width, 4, stride=2, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(spec.blocks))
        self.second = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(spec.blocks))
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.expand = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.decode = nn.Conv2d(width, spec.channels, 3, padding=1)

    def forward(self, images: Tensor, convolve: Convolve | None = None) -> Tensor:
        """Return the reconstruction, not clipped. `convolve` applies a layer to its input; by default as it is."""
        run = convolve or (lambda layer, inputs: layer(inputs))
        height, width = images.shape[2:]
        features = run(self.encode, F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"))
        refined = features
        for first, second in zip(self.first, self.second, strict=True):
            inner = F.relu(run(cast(nn.Conv2d, first), refined))
            refined = refined + run(cast(nn.Conv2d, second), inner)
        refined = features + run(self.merge, refined)
        output = run(self.decode, F.pixel_shuffle(run(self.expand, refined), 2))
        return output[..., :height, :width]

    def noise(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return arguments of :meth:`forward` while it is trained: none."""
        return {}
