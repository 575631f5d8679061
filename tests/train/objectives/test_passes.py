"""The side effects of a step of each objective: batch statistics, modules' modes, gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from nofrost.attacks import create_attack
from nofrost.config import AttackSpec
from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, Losses, create_objective, list_objectives
from nofrost.train.objectives.friendly import Ascent
from nofrost.train.objectives.trades import DivergenceAscent

Make = Callable[..., Classifier]
BATCH_NORMS = {
    ("st", ()): 1,
    ("pgdat", ()): 1,
    ("sat", ()): 2,
    ("sat", (("batching", "joint"),)): 1,
    ("sat", (("adversarial_weight", 1.0),)): 1,
    ("trades", ()): 2,
    ("trades", (("batching", "joint"),)): 1,
    ("fat", ()): 1,
    ("trades-fat", ()): 2,
    ("alp", ()): 1,
    ("alp", (("batching", "separate"),)): 2,
    ("free", ()): 4,
    ("free", (("replays", 8),)): 8,
    ("fast", ()): 2,
    ("multi-view", ()): 3,
    ("augmix", ()): 1,
    ("augmix", (("batching", "separate"),)): 3,
    ("mbnat", ()): 1,  # each branch
    ("mbnat", (("batching", "joint"),)): 1,
}


def adversary(name: str) -> Adversary:
    steps = 1 if name in ("fast", "free") else 2
    return Adversary(AttackSpec(name="pgd", steps=steps, keep="last"), "linf", 0.1, 0)


@pytest.mark.parametrize(("name", "settings", "updates"), [(*key, count) for key, count in BATCH_NORMS.items()])
def test_each_objective_moves_batch_statistics_as_often_as_it_says(
    name: str,
    settings: tuple[tuple[str, object], ...],
    updates: int,
    small: Make,
    descend: Callable[..., list[Losses]],
) -> None:
    model = small("mbn" if name == "mbnat" else "bn")
    descend(model, adversary(name), name, **dict(settings))
    counts = {int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}  # type: ignore[arg-type]
    assert counts == {updates}


def test_every_objective_of_networks_with_batch_norm_is_counted_above() -> None:
    assert {name for name, _ in BATCH_NORMS} == set(list_objectives()) - {"nearest-centroid"}


@pytest.mark.parametrize("name", sorted({name for name, _ in BATCH_NORMS}))
def test_a_batch_norm_held_in_evaluation_mode_stays_there(
    name: str, small: Make, descend: Callable[..., list[Losses]]
) -> None:
    """As in the last epochs with running statistics (xie2020 §4.3), or where a layer is not trained."""
    model = small("mbn" if name == "mbnat" else "bn")
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    before = copy.deepcopy(frozen.state_dict())
    seen = descend(model, adversary(name), name)
    assert not frozen.training
    assert all(module.training for module in model.modules() if module is not frozen)
    assert all(torch.equal(frozen.state_dict()[key], before[key]) for key in ("running_mean", "num_batches_tracked"))
    assert all(losses.loss.isfinite() for losses in seen)


@pytest.mark.parametrize("kind", ["pgd", "ascent", "divergence"])
@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
def test_making_adversarial_images_touches_no_statistics_and_restores_every_mode(
    kind: str, normaliser: str, small: Make, batch: Batch
) -> None:
    model = small(normaliser)
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    first = next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    attack = {
        "pgd": create_attack("pgd", eps=0.1, steps=3, keep="last"),
        "ascent": Ascent(eps=0.1, steps=3, tau=1),
        "divergence": DivergenceAscent(eps=0.1, steps=3),
    }[kind]
    attack(model, batch.images, batch.labels)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not frozen.training
    assert all(module.training for module in model.modules() if module is not frozen)
    assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
    assert not first.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["pgdat", "fat", "trades", "trades-fat", "fast", "sat"])
def test_an_attack_leaves_no_gradient_on_parameters(name: str, small: Make, batch: Batch) -> None:
    model = small("bn")
    create_objective(name).loss(model, batch, adversary(name))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted({name for name, _ in BATCH_NORMS} - {"mbnat"}))
def test_every_parameter_gets_a_gradient(name: str, small: Make, descend: Callable[..., list[Losses]]) -> None:
    model = small("bn")
    descend(model, adversary(name), name)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", sorted({name for name, _ in BATCH_NORMS}))
def test_a_step_does_not_depend_on_torchs_own_random_numbers(
    name: str, small: Make, descend: Callable[..., list[Losses]]
) -> None:
    losses = []
    for seed in (0, 1):
        model = small("mbn" if name == "mbnat" else "bn")
        torch.manual_seed(seed)
        losses.append([each.loss.item() for each in descend(model, adversary(name), name)])
    assert losses[0] == losses[1]
