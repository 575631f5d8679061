"""The gradient's growth is that of wide random networks, and the depth follows from it."""

from __future__ import annotations

import math

import pytest
import torch

from nofrost.errors import UserError
from nofrost.measures import gradient_growth, largest_trainable_depth


def measured_growth(batch_size: int, width: int = 512, depth: int = 18) -> float:
    """The mean factor between the squared gradient norms of successive layers in the middle of a random network."""
    generator = torch.Generator().manual_seed(batch_size)
    features = torch.randn(batch_size, width, generator=generator, dtype=torch.float64).requires_grad_()
    layers = []
    for _ in range(depth):
        weight = torch.randn(width, width, generator=generator, dtype=torch.float64)
        features = features @ weight.T
        features.retain_grad()
        layers.append(features)
        features = torch.relu((features - features.mean(0)) / features.std(0, correction=0))
    (features * torch.randn(features.shape, generator=generator, dtype=torch.float64)).sum().backward()  # type: ignore[no-untyped-call]
    norms = [float(layer.grad.square().sum()) for layer in layers if layer.grad is not None]
    return (norms[4] / norms[-5]) ** (1 / (depth - 9))


@pytest.mark.parametrize("batch_size", [6, 12, 48])
def test_the_growth_is_that_of_a_wide_random_network(batch_size: int) -> None:
    assert measured_growth(batch_size) == pytest.approx(gradient_growth(batch_size), rel=0.03)


def test_the_growth_falls_towards_its_limit_and_the_depth_rises_to_a_plateau() -> None:
    growths = [gradient_growth(size) for size in (4, 8, 32, 128, 10**6)]
    assert growths == sorted(growths, reverse=True)
    assert growths[-1] == pytest.approx(math.pi / (math.pi - 1), abs=1e-5)
    depths = [largest_trainable_depth(size) for size in (4, 8, 32, 128, 1024)]
    assert depths == sorted(depths)
    assert depths[-1] / depths[-2] < 1.03
    assert gradient_growth(32) ** (largest_trainable_depth(32, 1000.0) / 2) == pytest.approx(1000)


@pytest.mark.parametrize(("batch_size", "dynamic_range"), [(3, 10.0), (16, 1.0), (16, math.nan)])
def test_what_has_no_growth_is_refused(batch_size: int, dynamic_range: float) -> None:
    with pytest.raises(UserError, match=r"no finite gradient growth|is no growth"):
        largest_trainable_depth(batch_size, dynamic_range)
