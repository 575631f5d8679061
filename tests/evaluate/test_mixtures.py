"""Mixtures of a checkpoint's branches are measured as if it were deployed with each, and shared ones once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nofrost import models
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness
from nofrost.evaluate.adversarial.plan import make_plan
from nofrost.evaluate.adversarial.robustness import strongest_attack
from nofrost.models import Mixture

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
ATTACKS = {"fgsm": {"name": "fgsm"}, "pgd": {"name": "pgd", "steps": 3}}
SWEEP = {"inference": ["logits", "all", "random"], "weights": [0, 0.3, 1], "shares": [0, 0.4]}


def test_each_mixture_is_attacked_as_deployed(
    mixture_checkpoint: Path, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = (each[:40] for each in test_digits)
    model = models.load_model(mixture_checkpoint)
    suite = make_suite(attacks=ATTACKS, branch_attacks=["fgsm"], mixtures=SWEEP)
    result = evaluate_robustness(model, images, labels, suite)
    assert [(each.inference, each.weight, each.share) for each in result.metrics.mixtures] == [
        (inference, weight, share)
        for inference, shares in (("logits", [None]), ("all", [None]), ("random", [0.0, 0.4]))
        for share in shares
        for weight in (0.0, 0.3, 1.0)
    ]
    for mixture, flags in result.mixtures.flags.items():
        assert list(flags) == ["clean", "fgsm", "worst-case"]
        with models.branch(model, mixture):
            clean = (model(images).argmax(1) == labels).numpy()
            adversarial = create_attack("fgsm", eps=0.12)(model, images, labels)
            right = clean & (model(adversarial).argmax(1) == labels).numpy()
        assert (flags["clean"] != clean).sum() <= 1, mixture
        assert (flags["fgsm"] != right).sum() <= 1, mixture
    ends = {weight: result.mixtures.flags[Mixture(weight)]["fgsm"] for weight in (0.0, 1.0)}
    assert np.array_equal(ends[0.0], result.branches["clean"]["fgsm"])
    assert np.array_equal(ends[1.0], result.branches["adversarial"]["fgsm"])
    assert "mixtures/random-0.3-of-0.4/worst-case" in result.arrays()


def test_mixtures_with_the_same_answers_are_measured_once(
    mixture_checkpoint: Path, test_digits: Digits, make_suite: MakeSuite, started: Any
) -> None:
    model = models.load_model(mixture_checkpoint)
    suite = make_suite(attacks={"fgsm": {}}, mixtures=SWEEP)
    evaluate_robustness(model, test_digits[0][:8], test_digits[1][:8], suite)
    mixed = [title for title in started if "mixture" in title]
    # of one branch each, and at 0.3 in the logits (as random in no layer), in all layers, in some of them
    assert len(mixed) == len(set(mixed)) == 2 + 3


def test_a_model_without_branches_has_no_mixtures(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(standard_model, *test_digits, make_suite(attacks={"fgsm": {}}, mixtures={}))
    assert result.metrics.mixtures == ()
    assert "mixtures" not in result.metrics.as_json()


def test_noise_outside_the_threat_is_in_no_worst_case(
    mixture_checkpoint: Path, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = (each[:40] for each in test_digits)
    model = models.load_model(mixture_checkpoint)
    noise = {"noise": {"name": "awgn", "sigma": 3.0, "space": "pixel", "clip": False}}
    sweep = {"inference": ["logits"], "weights": [0.3]}
    fgsm = evaluate_robustness(model, images, labels, make_suite(attacks={"fgsm": {}}, mixtures=sweep))
    suite = make_suite(attacks={"fgsm": {}, **noise}, mixtures=sweep)
    both = evaluate_robustness(model, images, labels, suite)
    assert both.flags["noise"].sum() < both.flags["worst-case"].sum()
    for name in ("through-clean-branch", "through-adversarial-branch", "worst-case"):
        assert np.array_equal(both.flags[name], fgsm.flags[name]), name
    mixed = both.mixtures.flags[Mixture(0.3)]
    assert mixed["noise"].sum() < mixed["worst-case"].sum()
    assert np.array_equal(mixed["worst-case"], fgsm.mixtures.flags[Mixture(0.3)]["worst-case"])
    assert strongest_attack(make_plan(suite), both.flags) == "fgsm"
    alone = evaluate_robustness(model, images, labels, make_suite(attacks=noise))
    assert alone.flags["worst-case"].sum() <= alone.flags["noise"].sum()
