"""The compressive auto-encoder (Theis et al. 2017): to a binary code of a quarter of the height and width, and back.

The second network of DeepAugment.
"""

from collections.abc import Callable
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nofrost.augment.deepaugment.padding import padded_to_multiple
from nofrost.config.base import Schema

REDUCTION = 4
SMALLEST = 12  # pixels; the code of smaller images would be narrower than the kernels that decode it
BLOCKS = 3

Change = Callable[[Tensor], Tensor]


class CaeSpec(Schema):
    """The settings from which the network is built; stored beside its weights. Published weights have the default."""

    format: Literal[1] = 1
    architecture: Literal["cae"] = "cae"
    channels: Literal[1, 3]
    width: int = Field(default=64, ge=4, le=4096)


class ConvolutionPair(nn.Module):
    """Two convolutions with a skip around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return cast(Tensor, features + self.second(F.leaky_relu(self.first(features))))


class Cae(nn.Module):
    """Reconstructs images [N, C, H, W] in [0, 1] of any size from half as many bits a pixel as `spec.width` / 16.

    For the width 64 the code has 32 channels: 2 bits a pixel.
    """

    def __init__(self, spec: CaeSpec) -> None:
        super().__init__()
        self.spec = spec
        width, code = spec.width, spec.width // 2
        self.encode = nn.ModuleList(
            [nn.Conv2d(spec.channels, width, 5, stride=2), nn.Conv2d(width, 2 * width, 5, stride=2)]
        )
        self.encoder = nn.ModuleList(ConvolutionPair(2 * width) for _ in range(BLOCKS))
        self.code = nn.Conv2d(2 * width, code, 5, padding=2)
        self.decode = nn.ModuleList([nn.Conv2d(code, width, 3), nn.ConvTranspose2d(width, 2 * width, 2, stride=2)])
        self.decoder = nn.ModuleList(ConvolutionPair(2 * width) for _ in range(BLOCKS))
        self.expand = nn.ModuleList([nn.Conv2d(2 * width, code, 3), nn.ConvTranspose2d(code, 4 * width, 2, stride=2)])
        self.output = nn.ModuleList([nn.Conv2d(4 * width, width // 4, 3), nn.Conv2d(width // 4, spec.channels, 3)])

    @property
    def layers(self) -> list[str]:
        """The names of the convolutions in the order in which an image passes them."""
        return [
            *(f"encode.{number}" for number in range(2)),
            *(f"encoder.{number}.{part}" for number in range(BLOCKS) for part in ("first", "second")),
            "code",
            *(f"decode.{number}" for number in range(2)),
            *(f"decoder.{number}.{part}" for number in range(BLOCKS) for part in ("first", "second")),
            *(f"{name}.{number}" for name in ("expand", "output") for number in range(2)),
        ]

    def forward(
        self,
        images: Tensor,
        code: Change | None = None,
        bits: Change | None = None,
        thresholds: Tensor | None = None,
    ) -> Tensor:
        """Return the reconstruction in [-1, 1]: published weights were trained to give [0, 1] by way of tanh.

        Args:
            images: float [N, C, H, W] in [0, 1].
            code: changes the code in (-1, 1) before it is made binary.
            bits: changes the binary code of 0 and 1.
            thresholds: numbers from [0, 1) in the shape of the code, by which its values are rounded at random (Theis
                et al. 2017 §2.2); by default 1/2.
        """
        height, width = images.shape[2:]
        features = padded_to_multiple(images, REDUCTION, SMALLEST)
        for layer in self.encode:
            features = F.leaky_relu(layer(F.pad(features, (1, 2, 1, 2))))
        for block in self.encoder:
            features = block(features)
        values = torch.tanh(self.code(features))
        values = code(values) if code else values
        shares = (1 + values) / 2
        binary = (shares >= (0.5 if thresholds is None else thresholds)).to(values)
        # The gradient passes the rounding as if it were not there.
        binary = binary + shares - shares.detach() if self.training and torch.is_grad_enabled() else binary
        return self._decoded(bits(binary) if bits else binary)[..., :height, :width]

    def code_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape of the code of an image: channels, height and width."""
        rows, columns = (max(SMALLEST, size + -size % REDUCTION) // REDUCTION for size in (height, width))
        return self.spec.width // 2, rows, columns

    def noise(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return arguments of :meth:`forward` while it is trained: the code is rounded at random."""
        shape = (len(images), *self.code_shape(*images.shape[2:]))
        return {"thresholds": torch.rand(shape, generator=generator).to(images)}

    def _decoded(self, bits: Tensor) -> Tensor:
        features = _doubled(self.decode, bits * 2 - 1)
        for block in self.decoder:
            features = block(features)
        features = _doubled(self.expand, features)
        first, second = (cast(nn.Conv2d, layer) for layer in self.output)
        padded = F.pad(F.leaky_relu(first(features)), (2, 2, 2, 2), mode="reflect")
        return torch.tanh(second(padded))


def _doubled(layers: nn.ModuleList, features: Tensor) -> Tensor:
    """Return the features in twice the height and width: a convolution without padding, then one that expands."""
    narrow, expand = layers
    return cast(Tensor, expand(F.pad(F.leaky_relu(narrow(features)), (1, 1, 1, 1))))
