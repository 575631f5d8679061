"""What makes a network trainable without a normaliser: standardised weights and a known variance at every depth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nofrost.models import ScaledStdConv2d, create_model
from nofrost.models.activations import ACTIVATIONS
from nofrost.models.architectures.blocks import NFBlock
from nofrost.models.layers import RELU_GAIN


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


def test_the_gain_scales_a_filter_and_the_size_of_its_weights_does_not() -> None:
    torch.manual_seed(0)
    convolution = ScaledStdConv2d(8, 4, 3).double()
    before = convolution.standardised_weight()
    with torch.no_grad():
        convolution.weight.mul_(5).add_(2)
        convolution.gain.copy_(torch.tensor([0.0, 0.5, 1.0, -2.0]).view(4, 1, 1, 1))
    torch.testing.assert_close(convolution.standardised_weight(), before * convolution.gain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("inputs", "stride"), [(4, 1), (4, 2), (2, 1)])
@pytest.mark.parametrize("name", ["relu", "silu"])
def test_a_block_adds_its_scaled_branch_to_its_input_or_to_a_projection(name: str, inputs: int, stride: int) -> None:
    torch.manual_seed(0)
    activation = ACTIVATIONS[name]
    block = NFBlock(inputs, 4, stride, 0.0, activation, beta=1.5, alpha=0.2).double()
    features = torch.randn(2, inputs, 8, 8, dtype=torch.float64)

    def convolved(layer: ScaledStdConv2d, values: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        return F.conv2d(values, layer.standardised_weight(), layer.bias, stride, padding)

    f = activation.function
    scaled = f(features / 1.5)
    branch = convolved(block.conv2, f(convolved(block.conv1, scaled, stride, 1)), 1, 1)
    projects = (inputs, stride) != (4, 1)
    shortcut = convolved(block.shortcut, scaled, stride, 0) if projects else features
    torch.testing.assert_close(block(features), shortcut + 0.2 * branch)
    assert block.expected_variance == pytest.approx((1 if projects else 1.5**2) + 0.2**2)


def test_the_last_layer_is_never_standardised() -> None:
    model = create_model("resnet8", normaliser="nf", num_classes=10, image_size=16)
    assert type(model.network.get_classifier()) is torch.nn.Linear
