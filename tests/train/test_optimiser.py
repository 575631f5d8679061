"""Roles of parameters, groups of the optimiser, and SGD itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nofrost.config import OptimiserSpec
from nofrost.errors import UserError
from nofrost.models import Classifier, create_model
from nofrost.train.optimiser import create_optimiser, describe, gradient_scaler, roles, set_lr
from nofrost.train.trainer import Trainer

SMALL = {"num_classes": 10, "image_size": 16}


@pytest.mark.parametrize("normaliser", ["bn", "mbn", "gn", "in", "ln"])
def test_normalisers_have_gains_and_biases_and_other_layers_weights(normaliser: str) -> None:
    bare = roles(create_model("resnet8", normaliser="none", **SMALL))
    assert set(bare.values()) == {"weights", "biases"}
    for name, role in roles(create_model("resnet8", normaliser=normaliser, **SMALL)).items():
        kind = name.rpartition(".")[2]
        assert role == (bare[name] if name in bare else {"weight": "gains", "bias": "biases"}[kind]), name


@pytest.mark.parametrize(
    ("arch", "normaliser"),
    [("resnet8", "nf"), ("nf_resnet26", "nf"), ("dm_nfnet_f0", "nf"), ("resnet26", "bn"), ("convnext_atto", "bn")],
)
def test_roles_agree_with_the_names_of_parameters(arch: str, normaliser: str) -> None:
    """These networks name them uniformly: gain, skipinit_gain and gamma (layer scale), and one weight per channel."""
    with torch.device("meta"):
        model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=64)
    role_of = roles(model)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert role_of[name] == "biases", name
        else:
            gain = name.endswith(("gain", "gamma")) or parameter.ndim == 1
            assert role_of[name] == ("gains" if gain else "weights"), name


def test_single_numbers_of_fixup_are_gains_and_biases_with_a_learning_rate_of_their_own() -> None:
    model = create_model("cifar-resnet18-w8", normaliser="fixup", **SMALL)
    singles = {name: parameter for name, parameter in model.named_parameters() if parameter.numel() == 1}
    assert {roles(model)[name] for name in singles} == {"gains", "biases"}
    assert all((roles(model)[name] == "gains") == (float(p.detach()) == 1) for name, p in singles.items())
    optimiser = create_optimiser(model, OptimiserSpec(lr=0.2, weight_decay=5e-4, scalar_lr=0.1))
    set_lr(optimiser, 0.05)
    for group in optimiser.param_groups:
        single = {parameter.numel() == 1 for parameter in group["params"]}
        assert len(single) == 1
        assert group["lr"] == pytest.approx(0.05 * (0.1 if single == {True} else 1))


@pytest.mark.parametrize(("arch", "normaliser"), [("resnet8", "bn"), ("resnet8", "nf"), ("cifar-resnet18-w8", "fixup")])
@pytest.mark.parametrize("gains", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_weights_decay_and_gains_and_biases_only_where_the_recipe_says_so(
    arch: str, normaliser: str, gains: bool, biases: bool
) -> None:
    model = create_model(arch, normaliser=normaliser, **SMALL).double()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    spec = OptimiserSpec(lr=0.1, momentum=0, weight_decay=0.01, decay_gains=gains, decay_biases=biases)
    optimiser = create_optimiser(model, spec)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    decays = {"weights": True, "gains": gains, "biases": biases}
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.01 * decays[roles(model)[name]]
        assert torch.allclose(parameter, factor * before[name], rtol=1e-12, atol=0), name


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_follow_the_formula_of_momentum(nesterov: bool) -> None:
    """v = m v + g + d w; w = w - lr v, or w - lr (g + d w + m v) with Nesterov's look ahead."""
    layer = nn.Linear(3, 2, bias=False).double()
    weight, velocity = layer.weight.detach().clone(), torch.zeros(2, 3, dtype=torch.float64)
    optimiser = create_optimiser(layer, OptimiserSpec(lr=0.3, momentum=0.9, nesterov=nesterov, weight_decay=0.05))
    for step in range(4):
        gradient = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        layer.weight.grad = gradient.clone()
        optimiser.step()
        slope = gradient + 0.05 * weight
        velocity = 0.9 * velocity + slope
        weight = weight - 0.3 * (slope + 0.9 * velocity if nesterov else velocity)
    assert torch.allclose(layer.weight, weight, rtol=1e-12)


def freeze_norms(model: Classifier) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".bn" not in name)


def test_rmsprop_follows_the_formula_of_tensorflow() -> None:
    """m ← 0.9 m + 0.1 g², v ← 0.8 v + lr g / √(m + 0.5), w ← w - v, from m = 1 and v = 0; decay adds 0.1 w to g."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    spec = OptimiserSpec(lr=0.2, momentum=0.8, weight_decay=0.1, rmsprop={"decay": 0.9, "eps": 0.5})
    optimiser = create_optimiser(layer, spec)
    weight = layer.weight.detach().clone()
    mean, velocity = torch.ones_like(weight), torch.zeros_like(weight)
    for step in range(4):
        lr = 0.2 / (step + 1)
        set_lr(optimiser, lr)
        points = torch.randn(5, 3, dtype=torch.float64)
        optimiser.zero_grad()
        layer(points).square().sum().backward()
        optimiser.step()
        gradient = 2 * (points @ weight.T).T @ points + 0.1 * weight
        mean = 0.9 * mean + 0.1 * gradient.square()
        velocity = 0.8 * velocity + lr * gradient / (mean + 0.5).sqrt()
        weight = weight - velocity
        assert torch.allclose(layer.weight, weight, rtol=1e-10)


@pytest.mark.parametrize("change", [freeze_norms, lambda model: None])
def test_the_summary_counts_each_parameter_that_trains_once(change: Callable[[Classifier], None]) -> None:
    model = create_model("resnet8", **SMALL)
    change(model)
    summary = describe(create_optimiser(model, OptimiserSpec(weight_decay=0.01)))
    expected = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert sum(group.parameters for group in summary.values()) == expected
    assert summary["weights"].weight_decay == 0.01
    assert (summary["biases"].weight_decay, summary["biases"].lr_scale) == (0.0, 1.0)


def test_momentum_is_part_of_the_state_so_that_a_resumed_training_has_the_same_bits() -> None:
    model = create_model("resnet8", normaliser="nf", **SMALL)
    twin = copy.deepcopy(model)
    spec = OptimiserSpec(lr=0.1, scalar_lr=0.5)
    first, second = create_optimiser(model, spec), create_optimiser(twin, spec)
    for step in range(4):
        if step == 2:
            second.load_state_dict(copy.deepcopy(first.state_dict()))
            twin.load_state_dict(model.state_dict())
        torch.manual_seed(step)
        gradients = [torch.randn_like(parameter) for parameter in model.parameters()]
        for network, optimiser in ((model, first), (twin, second)):
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
            optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_that_was_saved_continues_with_the_same_bits(
    momentum: float, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    options = {"lr": 0.01, "momentum": momentum, "rmsprop": {"eps": 0.1}}
    undisturbed, stopped = (make_trainer({"name": "st"}, optimiser=options) for _ in range(2))
    for number, batch in enumerate(undisturbed.phase.images.epoch(0, 0, 0), start=1):
        undisturbed.train_step(batch)
        stopped.train_step(batch)
        undisturbed.state.step = stopped.state.step = number
        if number == 2:
            stopped.folder = tmp_path
            stopped.save(0.0)
            stopped = make_trainer({"name": "st"}, optimiser=options)
            stopped.folder = tmp_path
            assert stopped.load()
    own, resumed = undisturbed.phase_state.state_dict(), stopped.phase_state.state_dict()
    assert {name.partition(".")[0] for name in own} >= {"model", "square-average", "optimiser-step"}
    assert own.keys() == resumed.keys()
    assert all(torch.equal(own[name], resumed[name]) for name in own)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_are_scaled_for_float16_alone(precision: str) -> None:
    scaler = gradient_scaler(precision, torch.device("cpu"))
    layer = nn.Linear(3, 2)
    optimiser = create_optimiser(layer, OptimiserSpec(lr=0.1, momentum=0, weight_decay=0))
    before = layer.weight.detach().clone()
    loss = layer(torch.ones(1, 3)).sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimiser)
    scaler.step(optimiser)
    scaler.update()
    assert torch.equal(layer.weight, before - 0.1)
    assert scaler.state_dict() == {}


@pytest.mark.parametrize(("units", "usable"), [(True, "bfloat16"), (False, "float32")])
def test_float16_without_a_gpu_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, units: bool, usable: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units, "amx_bf16": False, "avx2": True})
    with pytest.raises(UserError, match=rf"float16 needs a CUDA GPU and this is cpu: set precision: {usable}$"):
        gradient_scaler("float16", torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_an_update_whose_float16_gradients_overflow_is_left_out_and_the_next_is_taken() -> None:
    scaler = gradient_scaler("float16", torch.device("cuda"))
    layer = nn.Linear(3, 2).cuda()
    optimiser = create_optimiser(layer, OptimiserSpec(lr=0.1, momentum=0, weight_decay=0))
    before = layer.weight.detach().clone()
    for factor, moved in ((float("inf"), 0.0), (1.0, 0.1)):
        optimiser.zero_grad()
        scaler.scale(layer(torch.ones(1, 3, device="cuda")).sum() * factor).backward()
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
        assert torch.allclose(layer.weight, before - moved)
