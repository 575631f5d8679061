"""A card says of a model what RobustBench's cards say, and calls AutoAttack only what is AutoAttack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate import RobustnessResult, evaluate_robustness
from nofrost.evaluate.card import card_of_folder, make_card
from nofrost.results import AdversarialMetrics

Digits = tuple[torch.Tensor, torch.Tensor]
ABOUT = {"name": "A model", "authors": "A. One, B. Two"}
# RobustBench, model_info/cifar10/Linf/*.json
FIELDS = ["link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture"]
FIELDS += ["eps", "clean_acc", "reported", "autoattack_acc", "unreliable"]


@pytest.fixture(scope="module")
def standard(standard_model: nn.Module, test_digits: Digits) -> RobustnessResult:
    """AutoAttack in full on a model that it breaks at once."""
    suite = load_suite("adversarial-standard", ["threat.eps=64/255", "steps_curve=null", "budget_curve=null"])
    assert isinstance(suite, AdversarialSuite)
    return evaluate_robustness(standard_model, test_digits[0][:40], test_digits[1][:40], suite)


@pytest.fixture
def metrics(standard: RobustnessResult) -> dict[str, Any]:
    """What `metrics.json` holds, to be changed."""
    return standard.metrics.as_json()


def test_a_card_has_the_fields_of_robustbench_with_accuracies_in_percent(standard: RobustnessResult) -> None:
    about = {"link": "https://x.org", "venue": "ICML 2022", "dataset": "digits", "architecture": "two layers"}
    card = standard.card(**ABOUT, **about, additional_data=True, reported=12.5)
    assert list(card) == [*FIELDS, "nofrost"]
    assert {key: card[key] for key in about} == about
    assert (card["additional_data"], card["number_forward_passes"], card["reported"]) == (True, 1, "12.50")
    assert card["eps"] == "64/255"
    clean, worst = standard.accuracy["clean"], standard.accuracy["worst-case"]
    assert card["clean_acc"] == f"{100 * clean.correct / 40:.2f}"
    assert card["autoattack_acc"] == f"{100 * worst.correct / 40:.2f}"
    assert card["unreliable"] is False
    ours = card["nofrost"]
    assert (ours["samples"], ours["indices_sha256"]) == (40, standard.sample.indices_sha256())
    assert (ours["protocol"], ours["norm"], ours["autoattack_reason"]) == ("standard", "linf", None)
    low, high = ours["interval"]["worst-case"]
    assert float(low) <= float(card["autoattack_acc"]) <= float(high)
    json.dumps(card, allow_nan=False)


def test_fields_that_are_not_given_are_null(standard: RobustnessResult) -> None:
    card = standard.card(**ABOUT)
    assert [card[key] for key in ("link", "venue", "dataset", "architecture", "reported")] == [None] * 5
    assert card["additional_data"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(subset=True), "only 40 images were measured"),
        (lambda m: m["attacks"]["apgd-ce"].update(steps=50), "apgd-ce has other settings than in AutoAttack: steps 50"),
        (lambda m: m["attacks"]["square"].update(rescale_schedule=True), "square has other settings"),
        (lambda m: m["attacks"].pop("fab-t"), "the suite is not AutoAttack's version standard"),
        (lambda m: m["attacks"].update(more={"name": "pgd", "cumulative": True}), "is not AutoAttack's"),
    ],
)
def test_what_is_not_standard_autoattack_is_not_called_so(
    metrics: dict[str, Any], change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    change(metrics)
    card = make_card(AdversarialMetrics.model_validate(metrics), ABOUT)
    assert card["autoattack_acc"] is None
    assert words in card["nofrost"]["autoattack_reason"]
    assert card["nofrost"]["worst_case_acc"] is not None


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"version": "standard"}, True),
        ({}, True),
        ({"version": "rand"}, False),
        ({"version": "plus"}, False),
        ({"queries": 100}, False),
    ],
)
def test_the_attack_autoattack_counts_beside_other_attacks(
    metrics: dict[str, Any], spec: dict[str, Any], found: bool
) -> None:
    metrics["attacks"] = {
        "fgsm": {"name": "fgsm", "cumulative": False},
        "aa": {"name": "autoattack", **spec, "cumulative": False},
    }
    metrics["accuracy"]["aa"] = metrics["accuracy"]["clean"]
    card = make_card(AdversarialMetrics.model_validate(metrics), ABOUT)
    assert card["autoattack_acc"] == (card["clean_acc"] if found else None)


@pytest.mark.parametrize(
    ("alarm", "unreliable"),
    [
        ({"name": "steps-converged", "status": "warn"}, False),
        ({"name": "accuracy-falls-with-budget", "status": "fail"}, True),
        ({"name": "answers-are-repeatable", "status": "warn"}, True),
        ({"name": "answers-are-repeatable", "status": "pass"}, False),
    ],
)
def test_a_failure_or_a_flag_of_autoattack_makes_a_card_unreliable(
    metrics: dict[str, Any], alarm: dict[str, str], unreliable: bool
) -> None:
    metrics["alarms"] = [{**alarm, "reason": "why"}]
    card = make_card(AdversarialMetrics.model_validate(metrics), ABOUT)
    assert card["unreliable"] is unreliable
    assert bool(card["nofrost"]["alarms"]) is (alarm["status"] != "pass")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"name": "A model"}, "key authors is missing"),
        ({**ABOUT, "venu": "ICML"}, "did you mean 'venue'"),
        ({**ABOUT, "reported": 120}, "less than or equal to 100"),
        ({**ABOUT, "number_forward_passes": 0}, "number_forward_passes"),
    ],
)
def test_a_wrong_field_is_an_error(standard: RobustnessResult, about: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        standard.card(**about)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "metrics.json is missing"),
        ({"kind": "ood"}, "is not of an adversarial evaluation"),
        ({"kind": "adversarial", "shard": "0/2"}, "holds only shard 0/2"),
        ({"kind": "adversarial", "accuracy": {}}, "run the stage that wrote it again"),
    ],
)
def test_a_folder_without_a_whole_adversarial_evaluation_is_refused(
    tmp_path: Path, content: dict[str, Any] | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        card_of_folder(tmp_path, ABOUT)


def test_the_card_of_a_folder_is_that_of_the_result(standard: RobustnessResult, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(standard.metrics.as_json()))
    assert card_of_folder(tmp_path, ABOUT) == standard.card(**ABOUT)
