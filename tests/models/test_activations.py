"""Activations of our own residual networks: what each computes, its gain, and that a checkpoint brings it back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import nn

from nofrost.errors import UserError
from nofrost.models import create_model, load_model, save_checkpoint, signal_propagation
from nofrost.models.activations import ACTIVATIONS
from nofrost.models.contents import model_sha256


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gain_is_one_over_the_deviation_for_normal_input(name: str) -> None:
    points, weights = hermegauss(180)  # quadrature of the standard normal distribution
    values = ACTIVATIONS[name].function(torch.from_numpy(points)).numpy()
    weights = weights / np.sqrt(2 * np.pi)
    deviation = np.sqrt(weights @ values**2 - (weights @ values) ** 2)
    assert ACTIVATIONS[name].gain == pytest.approx(1 / deviation, rel=1e-3)


def test_the_gains_are_timm_s() -> None:
    from timm.models.nfnet import _nonlin_gamma

    gains = {name: activation.gain for name, activation in ACTIVATIONS.items()}
    assert gains == pytest.approx({name: _nonlin_gamma[name] for name in gains}, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "layer"), [("relu", nn.ReLU()), ("silu", nn.SiLU()), ("gelu", nn.GELU()), ("softplus", nn.Softplus())]
)
def test_an_activation_is_the_function_of_its_name(name: str, layer: nn.Module) -> None:
    features = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[name].function(features), layer(features))


def operations(output: torch.Tensor) -> Counter[str]:
    """Return how often each operation is in the graph of a result."""
    nodes, seen, counts = [output.grad_fn], set(), Counter[str]()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            counts[node.name()] += 1
            nodes += [before for before, _ in node.next_functions]
    return counts


@pytest.mark.parametrize(
    ("arch", "normaliser"),
    [
        ("resnet8", "bn"),
        ("resnet8", "nf"),
        ("resnet8", "fixup"),
        ("cifar-resnet18-w8", "gn"),
        ("cifar-resnet18-w8", "nf"),
        ("cifar-resnet50-w8", "bn"),
        ("cifar-resnet50-w8", "nf"),
        ("wrn-10-1", "bn"),
    ],
)
def test_every_activation_of_a_network_is_the_one_asked_for(arch: str, normaliser: str) -> None:
    images = torch.rand(2, 3, 8, 8)
    own, smooth = (
        operations(create_model(arch, normaliser=normaliser, num_classes=3, image_size=8, activation=name)(images))
        for name in (None, "silu")
    )
    assert smooth["ReluBackward0"] == own["SiluBackward0"] == 0
    assert smooth["SiluBackward0"] == own["ReluBackward0"] > 6


@pytest.mark.parametrize("arch", ["resnet20", "cifar-resnet18-w16", "cifar-resnet50-w16"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_normaliser_free_network_keeps_the_variance_that_it_expects(arch: str, activation: str) -> None:
    torch.manual_seed(0)
    model = create_model(arch, normaliser="nf", num_classes=4, image_size=32, activation=activation)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"  # zeros at the border are in no formula
    signals = signal_propagation(model, images=4)
    expected = [signal.expected_variance for signal in signals]
    assert [signal.variance for signal in signals] == pytest.approx(expected, rel=0.4)


@pytest.mark.parametrize("normaliser", ["bn", "nf"])
def test_a_checkpoint_brings_the_activation_back(normaliser: str, tmp_path: Path) -> None:
    model = create_model("resnet8", normaliser=normaliser, num_classes=3, image_size=16, activation="silu").eval()
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_model(tmp_path)(images), model(images))


def test_the_record_of_an_architecture_with_its_own_activation_does_not_mention_it(tmp_path: Path) -> None:
    model = create_model("resnet8", num_classes=3, image_size=16)
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    assert "activation" not in json.loads((tmp_path / "best.json").read_text())["signature"]
    assert "activation" not in repr(model)


def test_networks_that_differ_in_their_activation_have_different_checksums() -> None:
    own, smooth = (create_model("resnet8", num_classes=3, image_size=16, activation=name) for name in (None, "silu"))
    smooth.load_state_dict(own.state_dict())
    assert model_sha256(own) != model_sha256(smooth)


@pytest.mark.parametrize(
    ("arch", "activation", "message"),
    [
        ("bagnet9-w8", "silu", "arch 'bagnet9-w8' has an activation of its own: leave out activation"),
        ("efficientnet_b0", "relu", "has an activation of its own"),
        ("resnet8", "tanh", "activation"),
    ],
)
def test_an_activation_that_is_not_there_is_refused(arch: str, activation: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_model(arch, num_classes=3, image_size=16, activation=activation)
