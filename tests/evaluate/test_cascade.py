"""A cascade: every attack is run only on images still right after those before it, as in AutoAttack."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost import attacks
from nofrost.attacks import create_attack
from nofrost.attacks.square import Square
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.condition import Condition

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


@pytest.mark.parametrize(("batch_size", "packs"), [(256, 1), (40, 1), (16, 2), (5, 6)])
def test_images_that_are_left_of_four_batches_are_packed_into_full_ones(
    robust_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    monkeypatch: pytest.MonkeyPatch,
    batch_size: int,
    packs: int,
) -> None:
    attacked: dict[str, list[list[int]]] = {}
    attack = EvaluatedModel.attack

    def recorded(self: EvaluatedModel, condition: Condition, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        attacked.setdefault(condition.attack.name, []).append(rest[1].tolist())
        return attack(self, condition, images, *rest)

    monkeypatch.setattr(EvaluatedModel, "attack", recorded)
    flags = evaluate_robustness(
        robust_model, *test_digits, make_suite(attacks=MEMBERS, cascade=True, batch_size=batch_size)
    ).flags
    before = flags["clean"]
    for number, name in enumerate(MEMBERS):
        group = batch_size * (4 if number else 1)
        expected = []
        for rows in np.split(np.arange(120), range(group, 120, group)):
            left = rows[before[rows]].tolist()
            expected += [left[start : start + batch_size] for start in range(0, len(left), batch_size)]
        assert attacked[name] == expected
        assert number == 0 or math.ceil(120 / group) == packs
        before = flags[name]


AUTOATTACK = {"autoattack": {"steps": 5, "targets": 2, "queries": 30}}


def test_autoattack_as_one_attack_of_a_suite_is_packed_as_a_cascade_of_its_members(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked: list[list[int]] = []
    attack = EvaluatedModel.attack

    def recorded(self: EvaluatedModel, condition: Condition, images: torch.Tensor, *rest: Any) -> torch.Tensor:
        attacked.append(rest[1].tolist())
        return attack(self, condition, images, *rest)

    monkeypatch.setattr(EvaluatedModel, "attack", recorded)
    spelled_out = evaluate_robustness(
        robust_model, *test_digits, make_suite(attacks=MEMBERS, cascade=True, batch_size=16)
    )
    of_cascade = attacked.copy()
    attacked.clear()
    entry = evaluate_robustness(robust_model, *test_digits, make_suite(attacks=AUTOATTACK, batch_size=16))
    assert attacked == of_cascade
    assert list(entry.flags) == ["clean", "autoattack", "worst-case"]
    assert entry.flags["autoattack"].tolist() == spelled_out.flags["square"].tolist()
    assert not entry.metrics.attacks["autoattack"].cumulative


def test_autoattack_comes_after_the_attacks_before_it_in_a_cascade(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    alone = evaluate_robustness(robust_model, *test_digits, make_suite(attacks={"fgsm": {}, **AUTOATTACK})).flags
    suite = make_suite(attacks={"fgsm": {}, **AUTOATTACK}, cascade=True)
    flags = evaluate_robustness(robust_model, *test_digits, suite).flags
    assert flags["autoattack"].tolist() == (alone["fgsm"] & alone["autoattack"]).tolist()


def test_targets_of_few_images_share_a_batch_of_the_suite_and_fewer_where_memory_ends(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    sizes: list[int] = []

    class Watched(nn.Module):
        limit = 1000

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            if images.requires_grad and len(images) > self.limit:
                raise torch.OutOfMemoryError
            return robust_model(images)  # type: ignore[no-any-return]

    suite = make_suite(attacks={"apgd-t": {"steps": 5, "targets": 9}}, max_images=20, batch_size=64)
    model = Watched()
    whole = evaluate_robustness(model, *test_digits, suite)
    assert max(sizes) > 20
    assert max(sizes) <= 64
    sizes.clear()
    model.limit = 30
    reduced = evaluate_robustness(model, *test_digits, suite)
    assert reduced.flags["apgd-t"].tolist() == whole.flags["apgd-t"].tolist()
    assert list(reduced.protocol.reduced_batch_sizes.values()) == [16]


@pytest.mark.parametrize("batch_size", [7, 60])
def test_the_flags_do_not_depend_on_the_packing(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, batch_size: int
) -> None:
    whole = evaluate_robustness(robust_model, *test_digits, make_suite(attacks=MEMBERS, cascade=True))
    suite = make_suite(attacks=MEMBERS, cascade=True, batch_size=batch_size)
    packed = evaluate_robustness(robust_model, *test_digits, suite)
    assert {name: flags.tolist() for name, flags in packed.flags.items()} == {
        name: flags.tolist() for name, flags in whole.flags.items()
    }


def test_a_killed_cascade_goes_on_with_the_packs_that_it_had(
    robust_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = make_suite(attacks=MEMBERS, cascade=True, batch_size=5)
    undisturbed = evaluate_robustness(robust_model, *test_digits, suite)
    attack, calls = EvaluatedModel.attack, [0]

    def killed(self: EvaluatedModel, condition: Condition, *rest: Any) -> torch.Tensor:
        calls[0] += condition.attack.name == "square"
        if calls[0] == 3:
            raise KeyboardInterrupt
        return attack(self, condition, *rest)

    monkeypatch.setattr(EvaluatedModel, "attack", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(robust_model, *test_digits, suite, checkpoint_dir=tmp_path)
    resumed = evaluate_robustness(robust_model, *test_digits, suite, checkpoint_dir=tmp_path)
    assert {name: flags.tolist() for name, flags in resumed.flags.items()} == {
        name: flags.tolist() for name, flags in undisturbed.flags.items()
    }
    left = undisturbed.flags["fab-t"]
    packs = sum(math.ceil(left[rows].sum() / 5) for rows in np.split(np.arange(120), range(20, 120, 20)))
    assert calls[0] == packs + 1


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


def test_in_a_cascade_an_attack_sees_only_images_still_right_before_it(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    original = attacks.Attack.__call__

    def watch(
        self: attacks.Attack, model: Any, images: Any, labels: Any, *, indices: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        seen.append(indices.tolist())
        return original(self, model, images, labels, indices=indices, batch_size=batch_size)

    monkeypatch.setattr(attacks.Attack, "__call__", watch)
    result = evaluate_robustness(standard_model, *test_digits, make_suite(cascade=True))
    first, second = (np.flatnonzero(result.flags[name]).tolist() for name in ("clean", "fgsm"))
    assert seen[:2] == [first, second]
    assert len(second) < len(first)
    assert np.array_equal(result.flags["apgd-ce-5"], result.flags["worst-case"])
