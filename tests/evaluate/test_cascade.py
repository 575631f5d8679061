"""A cascade: every attack is run only on images still right after those before it, as in AutoAttack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from nofrost.attacks import create_attack
from nofrost.attacks.square import Square
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
MEMBERS = {
    "apgd-ce": {"steps": 5},
    "apgd-t": {"steps": 5, "targets": 2},
    "fab-t": {"steps": 5, "targets": 2},
    "square": {"queries": 30},
}


def test_a_cascade_of_autoattacks_members_is_autoattack(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    suite = make_suite(attacks=MEMBERS, cascade=True)
    flags = evaluate_robustness(robust_model, images, labels, suite).flags
    autoattack = create_attack("autoattack", eps=suite.threat.eps, steps=5, targets=2, queries=30)
    right = robust_model(autoattack(robust_model, images, labels)).argmax(1) == labels
    assert flags["worst-case"].tolist() == right.tolist()
    assert flags["square"].tolist() == right.tolist()


def test_its_flags_are_those_of_the_worst_case_so_far(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    attacks = {"square": {"queries": 20}, "fgsm": {}, "apgd-ce": {"steps": 5}}
    alone = evaluate_robustness(standard_model, *test_digits, make_suite(attacks=attacks)).flags
    flags = evaluate_robustness(standard_model, *test_digits, make_suite(attacks=attacks, cascade=True)).flags
    right = alone["clean"]
    for name in attacks:
        right = right & alone[name]
        assert np.array_equal(flags[name], right)
    assert alone["clean"].sum() > flags["square"].sum() > flags["fgsm"].sum()


def test_an_attack_sees_no_image_that_one_before_it_fooled(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run = Square.run

    def counted(attack: Square, model: object, images: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(images))
        return run(attack, model, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Square, "run", counted)
    suite = make_suite(attacks=MEMBERS, cascade=True)
    flags = evaluate_robustness(robust_model, *test_digits, suite).flags
    assert sum(seen) == flags["fab-t"].sum() < flags["clean"].sum()
