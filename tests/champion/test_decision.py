"""The gate lets in what is better beyond chance, never what is worse, unfinished, masked or measured elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nofrost.champion.comparison import compare_calibration, compare_ood
from nofrost.champion.decision import decide
from nofrost.champion.evaluations import Evaluations, Unfinished
from nofrost.config import GateSpec, Margins
from nofrost.results import Contender, GateMetrics
from tests.champion.models import evaluations

POLICY = GateSpec()
quick = settings(deadline=None, max_examples=50)


def share(right: float, images: int = 1000) -> np.ndarray:
    return np.arange(images) < right * images


def gate(*runs: Any, champion: Any = None, policy: GateSpec = POLICY) -> GateMetrics:
    return decide("digits", policy, runs, champion)


def unmet(metrics: GateMetrics) -> list[str]:
    return [criterion.name for criterion in metrics.criteria if not criterion.met]


def test_the_first_model_without_a_failed_alarm_becomes_the_champion() -> None:
    metrics = gate(evaluations(share(0.3), alarms=("pass", "warn")))
    assert (metrics.decision, metrics.champion, unmet(metrics)) == ("promote", None, [])
    assert "there is no champion yet" in metrics.reason
    assert gate(evaluations(share(0.3), alarms=("pass", "fail"))).decision == "keep"


def test_a_model_that_is_more_robust_beyond_chance_is_let_in() -> None:
    metrics = gate(evaluations(share(0.6)), champion=evaluations(share(0.55), run="st/seed-0"))
    assert metrics.decision == "promote"
    assert [criterion.name for criterion in metrics.criteria] == [
        *("evaluations", "alarms", "images", "worst-case", "clean", "ood", "calibration")
    ]
    (worst_case,) = [each for each in metrics.criteria if each.name == "worst-case"]
    assert worst_case.comparison
    low, high = 100 * worst_case.comparison.low, 100 * worst_case.comparison.high
    assert worst_case.sentence == (
        f"60.0 % against the champion's 55.0 %, +5.0 points ({low:+.1f} to {high:+.1f}), p = 1.8e-15: above 0 beyond "
        "chance"
    )


@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_few_images_more_are_chance(more: int) -> None:
    challenger = evaluations(share((550 + more) / 1000), weights="other")
    assert unmet(gate(challenger, champion=evaluations(share(0.55)))) == ["worst-case"]


@pytest.mark.parametrize(
    ("worse", "name"),
    [
        ({"clean": share(0.95), "corrupted": share(1.0), "confidence": np.ones(1000)}, "clean"),
        ({"corrupted": share(0.95)}, "ood"),
        ({"confidence": np.full(1000, 0.9)}, "calibration"),
    ],
)
def test_a_loss_elsewhere_beyond_the_margin_keeps_the_champion(worse: dict[str, Any], name: str) -> None:
    challenger, champion = evaluations(share(0.7), **worse), evaluations(share(0.5))
    metrics = gate(challenger, champion=champion)
    assert (metrics.decision, name in unmet(metrics)) == ("keep", True)
    (criterion,) = [each for each in metrics.criteria if each.name == name]
    assert criterion.reason == "only 2 points of loss are allowed"
    spared = Margins(clean=None, ood=None, calibration=None)
    assert gate(challenger, champion=champion, policy=GateSpec(margins=spared)).decision == "promote"


def test_too_few_images_to_rule_out_a_loss_are_said() -> None:
    clean = np.arange(50) < 48
    champion = evaluations(share(0.1, 50), clean)
    metrics = gate(evaluations(share(0.9, 50), clean), champion=champion)
    (criterion,) = [each for each in metrics.criteria if each.name == "clean"]
    assert not criterion.met
    assert criterion.reason == "a loss of more than 2 points is not ruled out with 50 images"


def test_the_best_run_without_a_failed_alarm_is_the_challenger() -> None:
    masked = evaluations(share(0.9), run="st/seed-0", alarms=("fail",))
    half = Unfinished(Contender(run="", recipe="sat", seed=1), "metrics.json is missing")
    runs = [masked, half, evaluations(share(0.5), run="sat/seed-0"), evaluations(share(0.6), run="sat/seed-2")]
    metrics = gate(*runs)
    assert (metrics.challenger.name, metrics.runs, metrics.decision) == ("sat/seed-2", 2, "promote")
    assert {each.run: each.reason for each in metrics.passed_over} == {
        "st/seed-0": "it failed check-0",
        "sat/seed-1": "metrics.json is missing",
    }


def test_the_level_of_a_test_is_shared_out_over_the_runs() -> None:
    champion = evaluations(share(0.50))
    better = evaluations(share(0.507))  # 7 images more and none fewer: p = 0.016
    assert unmet(gate(better, champion=champion)) == []
    assert unmet(gate(*[better] * 5, champion=champion)) == ["worst-case"]


def test_the_champion_itself_is_recognised() -> None:
    champion = evaluations(share(0.5), weights="same")
    assert "is the champion itself" in gate(evaluations(share(0.5), weights="same"), champion=champion).reason


@pytest.mark.parametrize(("images", "rules_out"), [(1, False), (8, False), (100, False), (360, True)])
def test_models_that_agree_on_few_images_rule_out_no_loss(images: int, rules_out: bool) -> None:
    # The suite of corruptions may take fewer images than the attacks.
    few = evaluations(np.ones(images, bool))
    ood = few.ood
    comparisons = compare_ood(ood.corrupted, ood.corrupted, 0.95), compare_calibration(ood, ood, 0.95)
    for comparison in comparisons:
        assert comparison.low == -comparison.high
        assert (comparison.high <= 0.02) == rules_out


def test_a_level_that_is_shared_out_over_many_runs_widens_an_interval_of_resamples() -> None:
    generator = np.random.default_rng(0)
    right = np.ones(400, bool)
    one, other = (evaluations(right, corrupted=generator.uniform(size=400) < 0.7).ood for _ in range(2))
    low, lower, lowest = (compare_ood(one.corrupted, other.corrupted, 1 - 0.05 / runs).low for runs in (1, 100, 1000))
    # The standard error of the difference, at the quantiles of the normal distribution.
    error = float(np.std(one.corrupted - other.corrupted)) / 20
    for found, quantile in ((low, 1.96), (lower, 3.48), (lowest, 4.06)):
        assert found == pytest.approx(
            one.corrupted.mean() - other.corrupted.mean() - quantile * error, abs=0.35 * error
        )


def test_a_suite_without_corruptions_has_no_mean_to_compare_and_the_gate_says_so() -> None:
    models = [evaluations(share(level)) for level in (0.6, 0.5)]
    better, champion = (replace(model, ood=replace(model.ood, corrupted=None)) for model in models)
    metrics = gate(better, champion=champion)
    assert metrics.decision == "promote"
    (ood,) = [criterion for criterion in metrics.criteria if criterion.name == "ood"]
    assert (ood.met, ood.comparison) == (True, None)
    assert ood.reason == "The suite has no corruptions, so there is no mean over them to compare."


def test_a_study_without_an_ood_suite_is_decided_by_its_attacks_alone() -> None:
    better, champion = (replace(evaluations(share(level)), ood=None) for level in (0.6, 0.5))
    metrics = gate(better, champion=champion)
    assert metrics.decision == "promote"
    assert {"ood", "calibration"}.isdisjoint(criterion.name for criterion in metrics.criteria)


def test_a_larger_gain_can_be_asked_for() -> None:
    runs, champion = evaluations(share(0.6)), evaluations(share(0.55))
    assert gate(runs, champion=champion, policy=GateSpec(gain=0.02)).decision == "promote"
    assert gate(runs, champion=champion, policy=GateSpec(gain=0.06)).decision == "keep"


flags = st.integers(20, 120).flatmap(
    lambda images: st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 1)), min_size=2, max_size=2).map(
        lambda pairs: [np.random.default_rng(seed).uniform(size=images) < level for seed, level in pairs]
    )
)
statuses = st.lists(st.sampled_from(["pass", "warn", "fail"]), max_size=4).map(tuple)
policies = st.builds(
    GateSpec,
    confidence=st.floats(0.5, 0.999),
    gain=st.floats(0, 0.2),
    margins=st.builds(Margins, **{name: st.none() | st.floats(0, 1) for name in ("clean", "ood", "calibration")}),
)


def model(worst_case: np.ndarray, seed: int, **keys: Any) -> Evaluations:
    generator = np.random.default_rng(seed)
    clean = worst_case | (generator.uniform(size=len(worst_case)) < 0.5)
    corrupted = generator.uniform(size=len(clean)) < generator.uniform()
    return evaluations(worst_case, clean, corrupted, generator.uniform(size=len(clean)), **keys)


@quick
@given(flags, st.tuples(st.integers(0, 99), st.integers(0, 99)), policies)
def test_a_worse_model_is_never_let_in(right: list[np.ndarray], seeds: tuple[int, int], policy: GateSpec) -> None:
    challenger, champion = (model(*pair) for pair in zip(right, seeds, strict=True))
    metrics = gate(challenger, champion=champion, policy=policy)
    if metrics.decision == "promote":
        margins = policy.margins
        assert challenger.worst_case.mean() > champion.worst_case.mean() + policy.gain
        for margin, one, other in (
            (margins.clean, challenger.clean, champion.clean),
            (margins.ood, challenger.ood.corrupted, champion.ood.corrupted),
        ):
            assert margin is None or one.mean() >= other.mean() - margin
        errors = {each.name: each.comparison for each in metrics.criteria if each.comparison}
        if margins.calibration is not None:
            assert errors["calibration"].difference <= margins.calibration
    # Never both ways: the champion that was beaten does not beat its successor.
    back = gate(champion, champion=challenger, policy=policy)
    assert "promote" not in (metrics.decision, back.decision) or metrics.decision != back.decision


@quick
@given(statuses, st.integers(30, 300))
def test_a_model_with_a_failed_alarm_is_never_let_in(alarms: tuple[str, ...], images: int) -> None:
    policy = GateSpec(margins=Margins(clean=None, ood=None, calibration=None))
    for champion in (None, evaluations(np.zeros(images, bool))):
        metrics = gate(evaluations(np.ones(images, bool), alarms=alarms), champion=champion, policy=policy)
        assert unmet(metrics) == (["alarms"] if "fail" in alarms else [])
        assert metrics.decision == ("keep" if "fail" in alarms else "promote")


@quick
@given(st.sampled_from(["data", "indices", "suite", "order"]), st.integers(30, 60))
def test_a_model_evaluated_on_other_images_is_never_let_in(change: str, images: int) -> None:
    challenger, champion = np.ones(images, bool), np.zeros(images, bool)
    other: dict[str, Any] = {
        "data": {"data": "e"},
        "indices": {"indices": np.arange(1, images + 1)},
        "order": {"indices": np.arange(images)[::-1].copy()},
        "suite": {},
    }[change]
    one = evaluations(challenger, **other)
    if change == "suite":
        object.__setattr__(one.ood, "record", one.ood.record.model_copy(update={"config": {"seed": 1}}))
    metrics = gate(one, champion=evaluations(champion))
    assert (metrics.decision, unmet(metrics)) == ("keep", ["images"])


@given(st.sampled_from(["challenger", "champion"]))
def test_an_unfinished_evaluation_lets_nobody_in(who: str) -> None:
    half = Unfinished(Contender(run="", recipe="sat", seed=0), "metrics.json is missing")
    whole = evaluations(share(0.9))
    runs, champion = ([half], whole) if who == "challenger" else ([whole], half)
    metrics = gate(*runs, champion=champion)
    assert (metrics.decision, unmet(metrics)) == ("keep", ["evaluations"])
    assert metrics.criteria[0].reason == "metrics.json is missing"


def test_a_decision_that_does_not_follow_from_its_criteria_is_refused() -> None:
    metrics = gate(evaluations(share(0.3), alarms=("fail",)))
    with pytest.raises(ValidationError, match="does not follow from the criteria"):
        GateMetrics.model_validate({**metrics.as_json(), "decision": "promote"})
