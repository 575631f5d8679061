"""What alarms and cards are told of the attacks."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from nofrost.attacks import attack_class, create_attack, list_attacks

# By attack: access, loss that it climbs, whether it is targeted, whether it starts at random, fewest classes, twin
TRAITS = {
    "fgsm": ("gradient", "cross-entropy", False, False, 2, None),
    "bim": ("gradient", "cross-entropy", False, False, 2, None),
    "mim": ("gradient", "cross-entropy", False, False, 2, None),
    "pgd": ("gradient", "cross-entropy", False, True, 2, None),
    "pgd-targeted": ("gradient", "cross-entropy", True, True, 2, None),
    "cw-linf": ("gradient", "margin", False, True, 2, "pgd"),
    "cw-l2": ("gradient", None, False, False, 2, None),
    "apgd-ce": ("gradient", "cross-entropy", False, True, 2, None),
    "apgd-dlr": ("gradient", "dlr", False, True, 3, "apgd-ce"),
    "apgd-t": ("gradient", "dlr", True, True, 4, None),
    "fab": ("gradient", None, False, False, 2, None),
    "fab-t": ("gradient", None, True, False, 2, None),
    "square": ("outputs", None, False, True, 2, None),
    "rays": ("outputs", None, False, False, 2, None),
    "awgn": ("outputs", None, False, True, 2, None),
    "autoattack": ("both", None, False, True, 4, None),
    "autoattack-paper": ("gradient", None, False, True, 3, None),
}


@pytest.mark.parametrize("name", list_attacks())
def test_every_attack_states_its_traits(name: str) -> None:
    attack = attack_class(name)
    traits = (attack.access, attack.follows, attack.targeted, attack.random_start)
    assert (*traits, attack.min_classes, attack.cross_entropy_twin) == TRAITS[name]


@pytest.mark.parametrize("name", [name for name, traits in TRAITS.items() if traits[0] == "outputs"])
def test_a_black_box_attack_needs_no_gradient(
    name: str, batch: tuple[Tensor, Tensor], natural_model: nn.Module
) -> None:
    images, labels = batch

    def without_gradient(points: Tensor) -> Tensor:
        return natural_model(points).detach()

    settings = {"draws": 2} if name == "awgn" else {"queries": 20}
    assert create_attack(name, eps=0.1, **settings)(without_gradient, images, labels).shape == images.shape


def test_averaged_passes_are_those_of_one_gradient() -> None:
    assert create_attack("pgd", eps=0.1, eot=3).averaged_passes() == 3
    assert create_attack("square", eps=0.1).averaged_passes() == 1
    assert create_attack("autoattack", eps=0.1, version="rand").averaged_passes() == 20
    assert create_attack("autoattack", eps=0.1).averaged_passes() == 1


def test_steps_cross_the_ball_when_they_are_long_enough_together() -> None:
    def crosses(name: str, step_size: float) -> bool:
        return create_attack(name, eps=0.1, steps=10, step_size=step_size).crosses_the_ball()

    assert [crosses("pgd", size) for size in (0.019, 0.02)] == [False, True]
    assert [crosses("bim", size) for size in (0.009, 0.011)] == [False, True]
    assert create_attack("square", eps=0.1).crosses_the_ball()
