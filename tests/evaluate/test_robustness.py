"""The numbers of an evaluation are exact counts over the same images, of attacks that kept to the threat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost import attacks
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate import RobustnessResult, evaluate_robustness
from nofrost.statistics import wilson_interval

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
EPS = 0.12
CURVES = {
    "steps_curve": {"attack": "apgd-ce", "steps": [1, 5, 10]},
    "budget_curve": {"attack": {"name": "pgd", "steps": 10}, "multiples": ["1/2", 1]},
}


class Wrapped(nn.Module):
    """A model with something done before or after it."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(self.model, images)


def statuses(result: RobustnessResult) -> dict[str, str]:
    return {alarm.name: alarm.status for alarm in result.alarms}


def test_flags_are_those_of_the_attacks_run_by_hand(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    indices = torch.arange(len(labels)) + 500
    result = evaluate_robustness(robust_model, images, labels, make_suite(batch_size=50, seed=4), indices=indices)
    clean = (robust_model(images).argmax(1) == labels).numpy()
    assert np.array_equal(result.flags["clean"], clean)
    worst = clean
    for name, steps in (("fgsm", {}), ("apgd-ce-5", {"steps": 5})):
        attack = create_attack(name.removesuffix("-5"), norm="linf", eps=EPS, seed=4, **steps)
        found = attack(robust_model, images, labels, indices=indices)
        expected = clean & (robust_model(found).argmax(1) == labels).numpy()
        assert np.array_equal(result.flags[name], expected), name
        assert 0 < expected.sum() < clean.sum()
        worst = worst & expected
    assert np.array_equal(result.flags["worst-case"], worst)
    assert list(result.flags) == ["clean", "fgsm", "apgd-ce-5", "worst-case"]


def test_noise_that_is_not_cut_has_a_column_but_no_part_in_worst_case_and_alarms(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    noise = {"name": "awgn", "sigma": 3, "clip": False}
    both = evaluate_robustness(robust_model, *test_digits, make_suite(attacks={"fgsm": {}, "noise": noise}))
    assert not (both.flags["fgsm"] & ~both.flags["clean"]).any()
    assert np.array_equal(both.flags["worst-case"], both.flags["fgsm"])
    assert both.flags["noise"].sum() < both.flags["fgsm"].sum(), "wide enough to matter"
    assert "white-box-beats-black-box" not in statuses(both)
    alone = evaluate_robustness(robust_model, *test_digits, make_suite(attacks={"noise": noise}))
    assert np.array_equal(alone.flags["worst-case"], both.flags["noise"])


def test_accuracies_are_exact_counts_over_all_images_with_their_interval(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(robust_model, *test_digits, make_suite())
    for name, accuracy in result.accuracy.items():
        assert (accuracy.correct, accuracy.total) == (int(result.flags[name].sum()), 120)
        written = result.metrics.as_json()["accuracy"][name]
        assert (written["low"], written["high"]) == wilson_interval(accuracy.correct, 120)


def test_the_batch_size_changes_nothing(robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite) -> None:
    attack = {"pgd": {"name": "pgd", "steps": 5}}  # starts at random
    whole, parts = (
        evaluate_robustness(robust_model, *test_digits, make_suite(attacks=attack, batch_size=size))
        for size in (120, 7)
    )
    assert np.array_equal(whole.flags["pgd"], parts.flags["pgd"])


def test_a_robustly_trained_network_raises_no_failure_and_reaches_zero_without_bounds(
    robust_model: nn.Module, test_digits: Digits
) -> None:
    suite = load_suite("adversarial-quick", [f"threat.eps={EPS}", "max_images=80", "steps_curve.steps=[10,50,100]"])
    assert isinstance(suite, AdversarialSuite)
    result = evaluate_robustness(robust_model, *test_digits, suite)
    assert "fail" not in statuses(result).values(), result.alarms
    assert statuses(result)["steps-converged"] == "pass"
    assert statuses(result)["unbounded-attack-reaches-zero"] == "pass"
    assert result.accuracy["worst-case"].accuracy > 0.4
    counts = [int(right.sum()) for _, right in result.budgets]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


@pytest.mark.parametrize(
    ("masking", "alarm", "status"),
    [
        (lambda model, images: model(images) * 1e4, "gradients-not-zero", "fail"),
        (lambda model, images: model((images * 3).round() / 3), "unbounded-attack-reaches-zero", "fail"),
        (lambda model, images: model((images * 3).round() / 3), "gradients-not-zero", "fail"),
        (lambda model, images: model(torch.sigmoid((images - 0.53) * 400)), "unbounded-attack-reaches-zero", "fail"),
        (lambda model, images: model(images).softmax(1), "outputs-are-logits", "warn"),
        (lambda model, images: model(images + 0.1 * torch.randn_like(images)), "answers-are-repeatable", "warn"),
    ],
)
def test_a_model_that_hides_its_gradient_is_caught(
    standard_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    masking: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    alarm: str,
    status: str,
) -> None:
    images, labels = test_digits
    suite = make_suite(max_images=60, **CURVES)
    honest = evaluate_robustness(standard_model, images, labels, suite)
    masked = evaluate_robustness(Wrapped(standard_model, masking), images, labels, suite)
    assert statuses(honest)[alarm] == "pass"
    assert statuses(masked)[alarm] == status


def test_only_images_that_are_right_when_clean_are_attacked(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = test_digits
    attacked: list[int] = []

    def nothing(
        _: object, model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, indices: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        attacked.extend(indices.tolist())
        return x

    monkeypatch.setattr(attacks.Attack, "__call__", nothing)
    wrong = labels.clone()
    wrong[::3] = (wrong[::3] + 1) % 10
    result = evaluate_robustness(standard_model, images, wrong, make_suite(attacks={"fgsm": {}}))
    right = np.flatnonzero(result.flags["clean"])
    assert attacked == right.tolist()
    assert 0 < len(right) < len(labels)
    assert statuses(result)["robust-accuracy-is-plausible"] == "warn"


@pytest.mark.parametrize("change", [2 * EPS, torch.nan])
def test_an_attack_that_leaves_its_threat_is_an_error_and_no_result(
    standard_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    monkeypatch: pytest.MonkeyPatch,
    change: float,
) -> None:
    class Cheat:
        min_classes = 2

        def __call__(
            self, model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, indices: torch.Tensor, batch_size: int
        ) -> torch.Tensor:
            return (x + change).clamp(0, 1)

        def members(self, classes: int) -> list[Any]:
            return [self]

        def check_classes(self, classes: int) -> None:
            """Take any model."""

        def stays_inside(self) -> bool:
            return True

    monkeypatch.setattr(attacks, "create_attack", lambda name, **settings: Cheat())
    with pytest.raises(RuntimeError, match="left its threat"):
        evaluate_robustness(standard_model, *test_digits, make_suite())


def test_a_suite_attack_that_is_also_a_point_of_a_curve_is_run_once(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, started: Any
) -> None:
    both = {"apgd-ce-10": {"name": "apgd-ce", "steps": 10}, "pgd-10": {"name": "pgd", "steps": 10}}
    result = evaluate_robustness(standard_model, *test_digits, make_suite(max_images=20, attacks=both, **CURVES))
    of_steps = [f"apgd-ce, steps {steps}, linf 0.12" for steps in (10, 1, 5)]
    assert sorted(started) == sorted([*of_steps, *(f"pgd, steps 10, linf {eps}" for eps in ("0.12", "0.06", "1"))])
    assert np.array_equal(result.steps[10], result.flags["apgd-ce-10"])


def test_metrics_hold_curves_alarms_and_the_images_they_are_about(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(standard_model, *test_digits, make_suite(max_images=30, seed=3, **CURVES))
    metrics = result.metrics.as_json()
    assert {key: metrics[key] for key in ("kind", "title", "protocol", "samples", "seed", "threat", "branches")} == {
        "kind": "adversarial",
        "title": "Short",
        "protocol": "quick",
        "samples": 30,
        "seed": 3,
        "threat": {"norm": "linf", "eps": "0.12"},
        "branches": {},
    }
    steps = metrics["steps_curve"]
    assert steps["attack"] == "apgd-ce"
    assert [point["steps"] for point in steps["points"]] == [1, 5, 10]
    assert steps["converged"] == (statuses(result)["steps-converged"] == "pass")
    assert steps["slope_reason"] == next(each.reason for each in result.alarms if each.name == "steps-converged")
    budget = metrics["budget_curve"]
    assert budget["attack"] == "pgd"
    assert [(point["eps"], point["multiple"], point["value"]) for point in budget["points"]] == [
        ("0.06", "1/2", 0.06),
        ("0.12", "1", 0.12),
        ("1", "25/3", 1.0),
    ]
    for point in (*steps["points"], *budget["points"], *metrics["accuracy"].values()):
        assert point["total"] == 30
        assert point["low"] <= point["accuracy"] == point["correct"] / 30 <= point["high"]
    assert metrics["alarms"] == [alarm.as_json() for alarm in result.alarms]
    assert metrics["indices_sha256"] == result.sample.indices_sha256()


def test_a_suite_without_curves_has_none_and_no_alarm_about_them(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(standard_model, *test_digits, make_suite(max_images=10))
    assert result.metrics.steps_curve is None
    assert result.metrics.budget_curve is None
    assert not {"steps-converged", "unbounded-attack-reaches-zero"} & set(statuses(result))


def test_the_model_is_restored_also_after_an_error(test_digits: Digits, make_suite: MakeSuite) -> None:
    images, labels = test_digits
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10))
    model.train()
    model[1].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for last in (labels, labels + 1):  # the second has a label that the model does not know
        try:
            evaluate_robustness(model, images, last, make_suite(max_images=20))
        except UserError:
            assert last is not labels
        assert [module.training for module in model.modules()] == [True, True, False, True, True]
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_evaluation_works_where_gradients_are_switched_off(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    plain = evaluate_robustness(standard_model, *test_digits, make_suite(max_images=20))
    with torch.inference_mode():
        inside = evaluate_robustness(standard_model, *test_digits, make_suite(max_images=20))
    assert inside.metrics == plain.metrics


def test_what_a_single_step_leaves_of_large_budgets_is_a_warning_about_the_curve(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    curve = {"attack": {"name": "fgsm"}, "multiples": [1, 3]}
    rounding = Wrapped(standard_model, lambda model, images: model((images * 3).round() / 3))
    result = evaluate_robustness(rounding, *test_digits, make_suite(budget_curve=curve))
    assert result.budgets[-1][1].sum() > 60, "with an iterative attack this is a failure, see above"
    (alarm,) = (each for each in result.alarms if each.name == "unbounded-attack-reaches-zero")
    assert alarm.status == "warn"
    assert "give the budget curve an iterative attack" in alarm.reason


def test_any_callable_is_evaluated_like_a_module(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(max_images=30)
    module = evaluate_robustness(standard_model, *test_digits, suite)
    function = evaluate_robustness(lambda images: standard_model(images), *test_digits, suite)
    assert function.metrics == module.metrics
    with pytest.raises(UserError, match=r"checkpoint_dir is for modules, .*: leave it out, or put the callable into"):
        evaluate_robustness(standard_model.forward, *test_digits, suite, checkpoint_dir=tmp_path)
    with pytest.raises(UserError, match="a model is a module or a callable that maps images to logits, got a str"):
        evaluate_robustness("standard", *test_digits, suite)  # type: ignore[arg-type]


def test_progress_is_shown_on_demand_attack_by_attack(
    standard_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nofrost.evaluate.measuring.engine.MIN_SECONDS", 0)
    evaluate_robustness(standard_model, *test_digits, make_suite(max_images=4))
    assert capsys.readouterr().err == ""
    evaluate_robustness(standard_model, *test_digits, make_suite(max_images=4), show_progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": done in")[0] for line in lines] == [
        "evaluate-adversarial 1/3: clean images",
        "evaluate-adversarial 2/3: fgsm, linf 0.12",
        "evaluate-adversarial 3/3: apgd-ce, steps 5, linf 0.12",
    ]
