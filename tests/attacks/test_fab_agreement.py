"""FAB against an independent implementation, torchattacks: never weaker, and never farther away."""

from __future__ import annotations

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.fab import FastAdaptiveBoundary, length

Batch = tuple[Tensor, Tensor]
STEPS = 15
# A budget that leaves about half of the digits right
CASES = [("natural", "linf", 0.1), ("natural", "l2", 0.4), ("robust", "linf", 0.2), ("robust", "l2", 0.8)]
each_case = pytest.mark.parametrize(("kind", "norm", "eps"), CASES)


@pytest.fixture
def model(request: pytest.FixtureRequest, kind: str) -> nn.Module:
    found: nn.Module = request.getfixturevalue(f"{kind}_model")
    return found


@pytest.fixture
def right(model: nn.Module, digits: tuple[Batch, Batch]) -> Batch:
    """60 test digits, less those that `model` gets wrong: torchattacks leaves them alone."""
    images, labels = (part[:60] for part in digits[1])
    rows = correct(model, images, labels)
    return images[rows], labels[rows]


def correct(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits.argmax(1) == labels


def peer(model: nn.Module, norm: str, eps: float, multi_targeted: bool) -> torchattacks.FAB:
    return torchattacks.FAB(
        model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, steps=STEPS, multi_targeted=multi_targeted
    )


@each_case
def test_the_distances_are_as_small_and_the_accuracy_as_low_at_every_budget(
    norm: str, eps: float, model: nn.Module, right: Batch
) -> None:
    attack = create_attack("fab", norm=norm, eps=eps, steps=STEPS)
    assert isinstance(attack, FastAdaptiveBoundary)
    ours = attack.distances(model, *right)
    farthest = {"linf": 1.0, "l2": 8.0}[norm]
    theirs = length(peer(model, norm, farthest, multi_targeted=False)(*right) - right[0], norm)
    assert ours.median() <= theirs.median()
    assert (ours <= theirs * 1.02).double().mean() > 0.98
    for budget in (0.5 * eps, 0.75 * eps, eps, 1.25 * eps, 1.5 * eps):
        survive = (ours > budget).double().mean()
        assert survive <= (theirs > budget).double().mean() + 0.005
    assert 0.2 < (ours > eps).double().mean() < 0.8


@pytest.mark.parametrize(
    ("name", "multi_targeted", "kind", "norm", "eps"),
    [("fab", False, *case) for case in CASES] + [("fab-t", True, *case) for case in CASES[1:3]],
)
def test_within_a_budget_as_many_images_are_fooled(
    name: str, multi_targeted: bool, norm: str, eps: float, model: nn.Module, right: Batch
) -> None:
    images, labels = right
    ours = create_attack(name, norm=norm, eps=eps, steps=STEPS)(model, images, labels)
    theirs = peer(model, norm, eps, multi_targeted)(images, labels)
    survivors = correct(model, ours, labels).double().mean()
    assert survivors <= correct(model, theirs, labels).double().mean() + 0.005
    assert 0.2 < survivors < 0.8
