"""The attacked model: left exactly as it was, whatever it is and however the attack ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.attacks.session import attack_mode, isolated_torch
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]


class Stubborn(nn.Module):
    """Forbids eval(), as exported programs do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def train(self, mode: bool = True) -> Stubborn:
        raise NotImplementedError


def test_a_module_that_forbids_eval_is_still_put_in_eval_mode() -> None:
    model = Stubborn()
    with attack_mode(model):
        assert not model.training
        assert not model.norm.training
    assert model.training
    assert model.norm.training


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")
def test_a_scripted_module_is_put_in_eval_mode_and_back() -> None:
    model = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2)))
    with attack_mode(model):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


def test_parameters_shared_by_modules_are_restored() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    layer.bias.requires_grad_(False)
    with attack_mode(model):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad


def test_the_contents_of_a_model_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[nn.Module] = []
    monkeypatch.setattr("nofrost.attacks.session.check_contents", checked.append)
    model = nn.Linear(2, 2)
    for each in (model, model, copy.deepcopy(model)):
        with attack_mode(each):
            pass
    assert len(checked) == 2


def test_a_plain_callable_needs_no_guard(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    images, labels = digits[1][0][:8], digits[1][1][:8]
    attack, model = create_attack("pgd", eps=0.1, steps=3), copy.deepcopy(natural_model)
    model.zero_grad()  # other tests' peers leave gradients
    through_callable = attack(lambda x: model(x), images, labels)
    assert torch.equal(through_callable, attack(model, images, labels))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_numbers_go_on_as_if_none_had_been_drawn() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with isolated_torch(torch.device("cpu"), seed=0):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(0)
    assert not torch.equal(torch.rand(3), inside)


CASES = [(name, norm) for name in list_attacks() for norm in create_attack(name, eps=0).norms]
each_attack_and_norm = pytest.mark.parametrize(("name", "norm"), CASES)
CALL_ONCE = ("awgn", "fgsm")


class Mixed(nn.Module):
    """A model in train mode with a frozen batch norm, dropout, a frozen parameter and a stale gradient."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(256, 10)
        self.calls, self.fail_at = 0, fail_at
        self.train()
        self.second[1].eval()
        self.head.bias.requires_grad_(False)
        self.head.weight.grad = torch.ones_like(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the model broke")
        assert not any(module.training for module in self.modules())
        assert not any(parameter.requires_grad for parameter in self.parameters())
        # a model that draws random numbers even in eval mode
        return self.head(self.second(self.first(images + 0.01 * torch.randn_like(images))).flatten(1))

    def snapshot(self) -> dict[str, Any]:
        return {
            "modes": {name: module.training for name, module in self.named_modules()},
            "requires": {name: parameter.requires_grad for name, parameter in self.named_parameters()},
            "grads": {name: parameter.grad for name, parameter in self.named_parameters()},
            "tensors": {name: tensor.clone() for name, tensor in self.state_dict().items()},
            "rng": torch.get_rng_state(),
        }


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["modes"] == second["modes"]
    assert first["requires"] == second["requires"]
    assert all(first["grads"][name] is second["grads"][name] for name in first["grads"])
    assert all(torch.equal(first["tensors"][name], second["tensors"][name]) for name in first["tensors"])
    assert torch.equal(first["rng"], second["rng"])


@each_attack_and_norm
def test_the_model_and_the_generators_are_left_as_found(name: str, norm: str, batch: Batch, quick: Quick) -> None:
    model = Mixed()
    before = model.snapshot()
    adversarial = quick(name, norm)(model, *batch)
    assert model.calls > 0
    assert_same(before, model.snapshot())
    torch.manual_seed(99)  # even a model that draws random numbers meets the same ones
    assert torch.equal(quick(name, norm)(model, *batch), adversarial)


@pytest.mark.parametrize(
    ("name", "norm", "fail_at"),
    [(*case, call) for case in CASES for call in (1, 2) if call == 1 or case[0] not in CALL_ONCE],
)
def test_the_model_is_left_as_found_when_it_fails_in_the_attack(
    name: str, norm: str, fail_at: int, batch: Batch, quick: Quick
) -> None:
    model = Mixed(fail_at=fail_at)
    before = model.snapshot()
    settings = {"early_stop": False} if "early_stop" in attack_settings(name) else {}
    with pytest.raises(UserError, match="the model broke"):
        quick(name, norm, **settings)(model, *batch)
    assert_same(before, model.snapshot())


@each_attack_and_norm
def test_the_callers_torch_modes_change_nothing(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    attack = quick(name, norm)
    expected = attack(natural_model, *batch)
    for surrounding in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
        with surrounding:
            images, labels = batch[0].clone(), batch[1].clone()
            modes = torch_modes()
            result = attack(natural_model, images, labels)
            assert modes == torch_modes()
        assert torch.equal(result, expected), surrounding


def torch_modes() -> tuple[bool, ...]:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
