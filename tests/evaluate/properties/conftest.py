"""Models whose properties have a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

SHAPE = (2, 3, 4)  # channels, height, width


class LinearModel(nn.Module):
    """Logits = matrix · pixels + bias, in float64."""

    def __init__(self, matrix: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.matrix, self.bias = nn.Parameter(matrix), nn.Parameter(bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.matrix.T + self.bias


def make_linear(classes: int, scale: float = 1.0) -> LinearModel:
    generator = torch.Generator().manual_seed(classes)
    matrix = scale * torch.randn(classes, 24, generator=generator, dtype=torch.float64)
    # about as many grey images on each side
    return LinearModel(matrix, -matrix.sum(1) / 2)


@pytest.fixture
def two_classes() -> LinearModel:
    return make_linear(2)


@pytest.fixture
def five_classes() -> LinearModel:
    return make_linear(5)


@pytest.fixture
def grey() -> tuple[torch.Tensor, torch.Tensor]:
    """40 images between 0.4 and 0.6, float64 [N, 2, 3, 4], and labels of two classes."""
    generator = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(40, *SHAPE, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 2, (40,), generator=generator)
