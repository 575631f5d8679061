"""Adaptive gradient clipping."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.utils.agc import adaptive_clip_grad
from torch import Tensor, nn

from nofrost.config import OptimiserSpec
from nofrost.config.optimisation import Excluded
from nofrost.models import create_model
from nofrost.train.optimiser import clip_adaptively, clipped_parameters, create_optimiser, roles

SMALL = {"num_classes": 10, "image_size": 16}


@pytest.mark.parametrize(
    ("exclude", "clipped"),
    [
        (("gains", "biases", "head"), {"weights"}),
        (("gains", "head"), {"weights", "biases"}),
        (("biases",), {"weights", "gains", "head"}),
        ((), {"weights", "gains", "biases", "head"}),
    ],
)
@pytest.mark.parametrize(("arch", "normaliser"), [("resnet8", "nf"), ("resnet8", "bn"), ("cifar-resnet18-w8", "fixup")])
def test_excluded_parameters_are_not_clipped(
    arch: str, normaliser: str, exclude: tuple[Excluded, ...], clipped: set[str]
) -> None:
    model = create_model(arch, normaliser=normaliser, **SMALL)
    head = {id(parameter) for parameter in model.network.get_classifier().parameters()}
    clipped_ids = {id(parameter) for parameter in clipped_parameters(model, exclude)}
    for name, parameter in model.named_parameters():
        allowed = roles(model)[name] in clipped and (id(parameter) not in head or "head" in clipped)
        assert (id(parameter) in clipped_ids) == allowed, name


def test_frozen_parameters_are_left_out() -> None:
    model = create_model("resnet8", **SMALL)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("conv1" in name)
    assert {id(parameter) for parameter in clipped_parameters(model)} == {
        id(parameter) for name, parameter in model.named_parameters() if "conv1" in name
    }


def unit_by_unit(weight: Tensor, gradient: Tensor, factor: float, eps: float) -> Tensor:
    """The rule of the paper, one unit at a time."""
    clipped = gradient.clone()
    for unit in range(len(weight)):
        size = max(float(weight[unit].norm()), eps)
        norm = float(gradient[unit].norm())
        if norm / size > factor:
            clipped[unit] = factor * size / norm * gradient[unit]
    return clipped


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (5, 7), (5, 1, 1, 1), (5, 1, 3, 3)])
def test_gradients_are_clipped_as_the_paper_says_and_as_timm_does(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, dtype=torch.float64, generator=generator))
    weight.data[1] = 0
    spread = torch.tensor([1e-6, 0.1, 0, 10, 100], dtype=torch.float64).view(-1, *[1] * (len(shape) - 1))
    gradient = torch.randn(shape, dtype=torch.float64, generator=generator) * spread
    weight.grad = gradient.clone()
    twin = copy.deepcopy(weight)
    twin.grad = gradient.clone()
    clip_adaptively([weight], 0.02, 1e-3)
    adaptive_clip_grad([twin], clip_factor=0.02, eps=1e-3)
    assert torch.allclose(weight.grad, unit_by_unit(weight.detach(), gradient, 0.02, 1e-3), rtol=1e-12, atol=0)
    assert twin.grad is not None
    assert torch.allclose(weight.grad, twin.grad, rtol=1e-9, atol=0)
    assert torch.equal(weight.grad[[0, 2]], gradient[[0, 2]])


@pytest.mark.parametrize("shape", [(), (1,), (6,)])
def test_a_vector_and_a_single_number_are_one_unit(shape: tuple[int, ...]) -> None:
    bias = nn.Parameter(torch.full(shape, 2.0, dtype=torch.float64))
    gradient = torch.arange(1.0, bias.numel() + 1, dtype=torch.float64).view(shape)
    bias.grad = gradient.clone()
    clip_adaptively([bias], 0.01, 1e-3)
    assert torch.allclose(bias.grad, gradient * (0.01 * bias.detach().norm() / gradient.norm()))


def test_parameters_without_a_gradient_are_skipped() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.grad = torch.full((2,), 100.0)
    clip_adaptively(layer.parameters(), 0.01, 1e-3)
    assert layer.weight.grad is None
    assert float(layer.bias.grad.norm()) < 1
    clip_adaptively([layer.weight], 0.01, 1e-3)
    assert layer.weight.grad is None


def steps_until(gain: nn.Parameter, size: float, clipped: list[nn.Parameter], most: int) -> int:
    """Steps of SGD (0.1, momentum 0.9) under a gradient of 1, which always points the same way."""
    optimiser = torch.optim.SGD([gain], lr=0.1, momentum=0.9)
    for step in range(1, most + 1):
        gain.grad = -torch.ones_like(gain)
        clip_adaptively(clipped, 0.01, 1e-3)
        optimiser.step()
        if float(gain.detach().min()) >= size:
            return step
    return most + 1


def test_a_gain_of_zero_would_hardly_move_if_it_were_clipped() -> None:
    """A gain of zero may move by factor * eps * lr at first: 109 steps to 0.001 (methods.md 3.4), against one."""
    clipped, spared = (nn.Parameter(torch.zeros(4, 1, 1, 1, dtype=torch.float64)) for _ in range(2))
    assert steps_until(clipped, 1e-3, [clipped], most=200) == 109
    assert steps_until(spared, 1e-3, [], most=200) == 1


def test_gains_of_zero_stay_trainable_under_the_default_exclusions() -> None:
    model = create_model("resnet26", normaliser="nf", num_classes=4, image_size=32)
    gains = {
        name: parameter
        for name, parameter in model.named_parameters()
        if roles(model)[name] == "gains" and not bool(parameter.detach().any())
    }
    assert gains
    loss = nn.functional.cross_entropy(model(torch.rand(8, 3, 32, 32)), torch.arange(8) % 4)
    loss.backward()
    slopes = {name: gain.grad.clone() for name, gain in gains.items() if gain.grad is not None}
    clip_adaptively(clipped_parameters(model), 0.01, 1e-3)
    create_optimiser(model, OptimiserSpec(lr=0.1, weight_decay=0)).step()
    for name, gain in gains.items():
        assert torch.allclose(gain.detach(), -0.1 * slopes[name]), name
        assert bool(gain.detach().any()), name
