"""The guard works for every kind of module, and without one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks import create_attack
from nofrost.attacks.model import attack_mode, isolated_torch

Batch = tuple[Tensor, Tensor]


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


def test_a_distributed_model_is_attacked_without_its_wrapper(
    natural_model: nn.Module, digits: tuple[Batch, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits[1][0][:8], digits[1][1][:8]
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(natural_model)
        monkeypatch.setattr(wrapped, "forward", None)  # waits for the other processes
        attack = create_attack("pgd", eps=0.1, steps=3)
        assert torch.equal(attack(wrapped, images, labels), attack(natural_model, images, labels))
    finally:
        torch.distributed.destroy_process_group()
