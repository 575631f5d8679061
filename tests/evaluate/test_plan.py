"""What a suite is taken to ask for."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from nofrost.config import AdversarialSuite, PixelFraction, Threat
from nofrost.errors import UserError
from nofrost.evaluate.adversarial.plan import budget_text, make_plan

MakeSuite = Callable[..., AdversarialSuite]


@pytest.mark.parametrize(
    ("eps", "multiple", "text"),
    [
        ("8/255", "1", "8/255"),
        ("8/255", "3/2", "12/255"),
        ("8/255", "1/4", "2/255"),
        ("1/255", "1/4", "1/1020"),
        ("0.25", "2", "0.5"),
        ("0.03", "1/2", "0.015"),
        ("8/255", "0.5", "4/255"),
        ("1", "1/2", "0.5"),
    ],
)
def test_a_budget_is_written_over_the_denominator_of_the_threat(eps: str, multiple: str, text: str) -> None:
    assert budget_text(Threat(eps=PixelFraction(eps)), PixelFraction(multiple)) == text


def test_the_budget_curve_is_sorted_and_ends_with_the_whole_pixel_range(make_suite: MakeSuite) -> None:
    suite = make_suite(threat={"eps": "8/255"}, budget_curve={"multiples": ["2", "1/2", 1, "1.0", 40]})
    points = make_plan(suite).budgets
    assert [point.text for point in points] == ["4/255", "8/255", "16/255", "1"]
    assert [point.condition.eps for point in points] == [Fraction(n, 255) for n in (4, 8, 16, 255)]
    assert [point.unbounded for point in points] == [False, False, False, True]
    widest = points[-1].accuracy(np.zeros(2, dtype=np.bool_)).as_json()
    axis = {"eps": "1", "multiple": "255/8", "value": 1.0, "norm": "linf", "unbounded": True}
    assert {key: widest[key] for key in axis} == axis
    assert points[1].accuracy(np.ones(2, dtype=np.bool_)).value == pytest.approx(8 / 255)


def test_for_an_l2_threat_the_whole_pixel_range_is_still_that_of_linf(make_suite: MakeSuite) -> None:
    suite = make_suite(threat={"norm": "l2", "eps": "2"}, budget_curve={"multiples": [1]})
    first, last = make_plan(suite).budgets
    assert (first.condition.norm, first.condition.eps) == ("l2", 2)
    assert (last.condition.norm, last.condition.eps, last.multiple) == ("linf", 1, "unbounded")


def test_equal_attacks_of_suite_and_curves_are_one_condition(make_suite: MakeSuite) -> None:
    suite = make_suite(
        attacks={"a": {"name": "apgd-ce", "steps": 4}, "b": {"name": "pgd", "steps": 3}},
        steps_curve={"attack": "apgd-ce", "steps": [4, 2, 4]},
        budget_curve={"attack": {"name": "pgd", "steps": 3}, "multiples": [1, "1/2"]},
    )
    plan = make_plan(suite)
    assert list(plan.steps) == [2, 4]
    assert plan.attacks["a"] == plan.steps[4]
    assert plan.attacks["b"] == plan.budgets[1].condition
    assert len(plan.conditions()) == 5  # a, apgd with 2 steps, b, b at half the budget, b unbounded
    assert len({condition.name for condition in plan.conditions()}) == 5


@pytest.mark.parametrize(
    "keys",
    [
        {"attacks": {"a": {"name": "apgd-ce", "steps": 5}}},
        {"attacks": {"a": {"name": "pgd", "steps": 4}}},
        {"attacks": {"a": {"name": "apgd-ce", "steps": 4}}, "threat": {"eps": "9/255"}},
        {"attacks": {"a": {"name": "apgd-ce", "steps": 4}}, "threat": {"norm": "l2", "eps": "8/255"}},
        {"attacks": {"a": {"name": "apgd-ce", "steps": 4}}, "seed": 1},
    ],
)
def test_another_attack_steps_budget_norm_or_seed_is_another_condition(
    make_suite: MakeSuite, keys: dict[str, object]
) -> None:
    base = make_plan(make_suite(attacks={"a": {"name": "apgd-ce", "steps": 4}}, threat={"eps": "8/255"})).attacks["a"]
    other = make_plan(make_suite(**{"threat": {"eps": "8/255"}, **keys})).attacks["a"]
    assert other != base
    assert other.name != base.name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attacks": {"x": {"name": "pdg"}}}, r"suite: attacks\.x\.name: unknown attack 'pdg': did you mean 'pgd'"),
        ({"attacks": {"x": {"name": "fgsm", "steps": 3}}}, r"suite: unknown key 'attacks\.x\.steps'"),
        ({"steps_curve": {"attack": "apgd", "steps": [1]}}, r"suite: steps_curve\.attack\.name: unknown attack 'apgd'"),
        ({"budget_curve": {"attack": {"name": "nope"}}}, r"suite: budget_curve\.attack\.name: unknown attack 'nope'"),
        ({"attacks": {"clean": {"name": "fgsm"}}}, r"suite: attacks\.clean: the name is that of a result"),
        ({"attacks": {"worst-case": {"name": "fgsm"}}}, "choose another"),
        (
            {"attacks": {"noise": {"name": "awgn", "clip": False}, "fgsm": {}}, "cascade": True},
            r"suite: attacks\.noise: noise that is not cut to the threat .* drop cascade, or cut it",
        ),
    ],
)
def test_a_suite_that_cannot_be_run_is_refused_before_anything_runs(
    make_suite: MakeSuite, keys: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(make_suite(**keys))
