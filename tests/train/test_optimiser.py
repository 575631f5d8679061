"""Weight decay groups, adaptive clipping and schedules."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from nofrost.config import OptimiserSpec, ScheduleSpec
from nofrost.models import create_model
from nofrost.train.optimiser import (
    clip_adaptively,
    clipped_parameters,
    create_optimiser,
    is_gain_or_bias,
    lr_share,
    threat_share,
)


@pytest.mark.parametrize(("normaliser", "arch"), [("bn", "resnet8"), ("nf", "resnet8"), ("nf", "resnet26")])
@pytest.mark.parametrize("extended", [False, True])
def test_weight_decay_reaches_gains_and_biases_only_when_the_recipe_says_so(
    normaliser: str, arch: str, extended: bool
) -> None:
    model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=32)
    optimiser = create_optimiser(model, OptimiserSpec(weight_decay=0.01, decay_gains=extended, decay_biases=extended))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        single = name.endswith(("gain", "bias")) or parameter.ndim == 1
        assert is_gain_or_bias(parameter) == single, name
        assert decays[id(parameter)] == (0.01 if extended or not single else 0.0), name


@pytest.mark.parametrize("arch", ["resnet8", "resnet26"])
def test_adaptive_clipping_spares_gains_biases_and_the_last_layer(arch: str) -> None:
    model = create_model(arch, normaliser="nf", num_classes=10, image_size=32)
    clipped = {id(parameter) for parameter in clipped_parameters(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in clipped}
    assert names
    assert all(
        (name.endswith("weight") and "conv" in name) or "shortcut" in name or "downsample" in name for name in names
    )


def test_a_gain_of_zero_stays_trainable_under_adaptive_clipping() -> None:
    model = create_model("resnet26", normaliser="nf", num_classes=4, image_size=32)
    gains = {n: p for n, p in model.named_parameters() if n.endswith("gain") and float(p.detach().abs().sum()) == 0}
    assert gains
    optimiser = create_optimiser(model, OptimiserSpec(lr=0.1, weight_decay=0))
    loss = nn.functional.cross_entropy(model(torch.rand(8, 3, 32, 32)), torch.arange(8) % 4)
    loss.backward()  # type: ignore[no-untyped-call]
    before = {name: gain.grad.clone() for name, gain in gains.items() if gain.grad is not None}
    clip_adaptively(clipped_parameters(model), 0.01, 1e-3)
    optimiser.step()
    for name, gain in gains.items():
        assert torch.allclose(gain.detach(), -0.1 * before[name])


def test_a_clipped_gradient_is_at_most_the_factor_times_the_filter() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 5, 3)
    convolution.weight.grad = torch.randn(5, 3, 3, 3) * torch.tensor([1e-6, 0.1, 1, 10, 100]).view(5, 1, 1, 1)
    untouched = convolution.weight.grad[0].clone()
    expected = copy.deepcopy(convolution)
    expected.weight.grad = convolution.weight.grad.clone()
    adaptive_clip_grad([expected.weight], clip_factor=0.02, eps=1e-3)  # timm's, an independent implementation
    clip_adaptively([convolution.weight], 0.02, 1e-3)
    assert torch.allclose(convolution.weight.grad, expected.weight.grad)
    norms = convolution.weight.grad.flatten(1).norm(dim=1)
    limits = 0.02 * convolution.weight.detach().flatten(1).norm(dim=1)
    assert torch.all(norms <= limits * 1.001)
    assert torch.equal(convolution.weight.grad[0], untouched)


@pytest.mark.parametrize(
    ("warmup", "done", "expected"),
    [(0, 0, 1.0), (0, 5, 0.5), (0, 10, 0.0), (2, 0, 0.0), (2, 1, 0.5), (2, 2, 1.0), (2, 6, 0.5), (10, 10, 0.0)],
)
def test_the_learning_rate_rises_linearly_then_falls_along_a_cosine(
    warmup: float, done: float, expected: float
) -> None:
    assert lr_share(ScheduleSpec(epochs=10, lr_warmup_epochs=warmup), done) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("warmup", "done", "expected"), [(0, 0, 1.0), (4, 0, 0.0), (4, 1, 0.25), (4, 4, 1.0), (4, 9, 1.0)]
)
def test_the_training_budget_rises_linearly_and_stays(warmup: float, done: float, expected: float) -> None:
    assert threat_share(ScheduleSpec(epochs=10, threat_warmup_epochs=warmup), done) == pytest.approx(expected)
