"""An attack changes nothing of the model and of torch, also when the model fails in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]
CASES = [(name, norm) for name in list_attacks() for norm in create_attack(name, eps=0).norms]
every_attack = pytest.mark.parametrize(("name", "norm"), CASES)
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


@every_attack
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
    # what the first call does not take is the user's mistake
    with pytest.raises((UserError, RuntimeError)[fail_at - 1], match="the model broke"):
        quick(name, norm, **settings)(model, *batch)
    assert_same(before, model.snapshot())


@every_attack
@pytest.mark.parametrize(
    "surrounding",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_torch_modes_change_nothing(
    name: str, norm: str, surrounding: Callable[[], Any], natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    attack = quick(name, norm)
    expected = attack(natural_model, *batch)
    with surrounding():
        images, labels = batch[0].clone(), batch[1].clone()
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        found = attack(natural_model, images, labels)
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    assert torch.equal(found, expected)
