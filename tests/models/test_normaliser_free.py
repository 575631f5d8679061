"""What makes a network trainable without a normaliser: standardised weights and a known variance at every depth."""

from __future__ import annotations

import pytest
import torch

from nofrost.models import ScaledStdConv2d, create_model
from nofrost.models.residual import ALPHA, NFBlock
from nofrost.models.weight_standardisation import RELU_GAIN


@pytest.mark.parametrize(("inputs", "kernel", "gamma"), [(3, 3, 1.0), (16, 3, RELU_GAIN), (64, 1, RELU_GAIN)])
def test_every_filter_has_mean_zero_and_variance_gamma_squared_over_fan_in(
    inputs: int, kernel: int, gamma: float
) -> None:
    torch.manual_seed(0)
    convolution = ScaledStdConv2d(inputs, 32, kernel, gamma=gamma)
    filters = convolution.standardised_weight().flatten(1)
    fan_in = inputs * kernel * kernel
    assert torch.allclose(filters.mean(1), torch.zeros(32), atol=1e-6)
    assert torch.allclose(filters.var(1, correction=0), torch.full((32,), gamma**2 / fan_in), rtol=1e-3)


def test_the_relu_gain_restores_unit_variance() -> None:
    samples = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (RELU_GAIN * torch.relu(samples)).std().item() == pytest.approx(1, abs=3e-3)


def test_a_filter_of_equal_weights_gives_zero_and_no_nan() -> None:
    convolution = ScaledStdConv2d(4, 2, 3)
    torch.nn.init.constant_(convolution.weight, 0.7)
    assert torch.equal(convolution.standardised_weight(), torch.zeros(2, 4, 3, 3))


@pytest.mark.parametrize("arch", ["resnet8", "resnet20"])
def test_the_variance_at_initialisation_follows_the_expected_profile(arch: str) -> None:
    torch.manual_seed(0)
    model = create_model(arch, normaliser="nf", num_classes=10, image_size=32)
    network = model.network.double()
    features = network.conv1(torch.randn(32, 3, 32, 32, dtype=torch.float64))
    for block in network.stages:
        assert isinstance(block, NFBlock)
        assert features.var(dim=(0, 2, 3)).mean().item() == pytest.approx(block.beta**2, rel=0.35)
        before, features = features, block(features)
        grown = 1.0 if block.projects else before.var(dim=(0, 2, 3)).mean().item()
        assert features.var(dim=(0, 2, 3)).mean().item() == pytest.approx(grown + ALPHA**2, rel=0.35)
        assert (features.mean(dim=(0, 2, 3)) ** 2).mean().item() < 0.25  # no mean shift builds up


def test_the_last_layer_is_never_standardised() -> None:
    model = create_model("resnet8", normaliser="nf", num_classes=10, image_size=16)
    assert type(model.network.get_classifier()) is torch.nn.Linear
