"""Fully connected classifiers: batch norm where galloway2019 has it, and its linear classifier in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nofrost.models import Classifier, create_model


def build(arch: str, normaliser: str = "bn", **settings: object) -> Classifier:
    torch.manual_seed(0)
    return create_model(arch, normaliser=normaliser, num_classes=3, image_size=4, channels=1, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("mlp-2-5", ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU"]),
        ("mlp-2-5-bn1", ["Linear", "BatchNorm1d", "ReLU", "Linear", "ReLU"]),
        ("mlp-1-5", ["Linear", "BatchNorm1d", "ReLU"]),
    ],
)
def test_batch_norm_comes_before_the_activation_of_hidden_layers(arch: str, expected: list[str]) -> None:
    assert [type(layer).__name__ for layer in build(arch).network.hidden] == expected  # type: ignore[union-attr]


def test_half_is_half_of_the_values_of_an_image() -> None:
    assert [layer.out_features for layer in build("mlp-2-half").modules() if isinstance(layer, nn.Linear)] == [8, 8, 3]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_the_linear_classifier_is_that_of_galloway2019(affine: bool, eps: float) -> None:
    model = build("linear", affine=affine, normaliser_eps=eps).double()
    network = model.network
    images = torch.rand(6, 1, 4, 4, dtype=torch.float64)
    pixels = ((images - 0.5) / 0.25).flatten(1)
    mean, variance = pixels.mean(0), pixels.var(0, correction=0)
    gain, shift = (network.bn.weight, network.bn.bias) if affine else (1.0, 0.0)  # type: ignore[union-attr]
    normalised = gain * (pixels - mean) / torch.sqrt(variance + eps) + shift
    expected = normalised @ network.fc.weight.T + network.fc.bias  # type: ignore[union-attr]
    assert torch.allclose(model(images), expected)


def test_its_gains_start_at_random() -> None:
    gains = build("linear").network.bn.weight  # type: ignore[union-attr]
    assert len(gains.unique()) == 16
    assert 0 <= gains.min() <= gains.max() <= 1


def test_without_a_normaliser_it_is_linear_in_the_pixels() -> None:
    model = build("linear", "none")
    first, second = torch.rand(2, 5, 1, 4, 4)
    middle = model((first + second) / 2)
    assert torch.allclose(middle, (model(first) + model(second)) / 2, atol=1e-6)
