"""The image-to-image network: a convolutional encoder and decoder that learns to give back its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nofrost.config.base import Schema

Convolve = Callable[[nn.Conv2d, Tensor], Tensor]


class NetworkSpec(Schema):
    """What must be known to build the network; stored beside its weights."""

    format: Literal[1] = 1
    architecture: Literal["residual-encoder-decoder"] = "residual-encoder-decoder"
    channels: Literal[1, 3]
    width: int = Field(ge=1, le=4096)
    blocks: int = Field(default=4, ge=1, le=256)


class ReconstructionNetwork(nn.Module):
    """Gives back its input, images [N, C, H, W] in [0, 1] of any size.

    DeepAugment uses a compressive autoencoder and EDSR, a super-resolution network. This one joins what they have in
    common, at the images' own size: a strided convolution encodes to half the resolution; residual blocks under a
    long skip (EDSR's body) and sub-pixel upsampling lead back. No skip leads around the features, so whatever is done
    to them shows in the image.
    """

    def __init__(self, spec: NetworkSpec) -> None:
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


def new_network(spec: NetworkSpec, generator: torch.Generator) -> ReconstructionNetwork:
    """Return a network on the CPU with weights drawn from `generator` alone: the global random state stays as it is."""
    with torch.device("meta"):
        network = ReconstructionNetwork(spec)
    network.to_empty(device="cpu")
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(values)
        else:
            nn.init.kaiming_uniform_(values, a=5**0.5, generator=generator)
    return network
