"""Evaluations that were stopped go on from what they measured, and from nothing of other work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
CURVES = {
    "steps_curve": {"attack": "apgd-ce", "steps": [1, 5, 10]},
    "budget_curve": {"attack": {"name": "pgd", "steps": 10}, "multiples": ["1/2", 1]},
}


def test_a_killed_evaluation_resumes_and_gives_the_same_result(
    standard_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    tmp_path: Path,
    started: Any,
) -> None:
    suite = make_suite(max_images=20, **CURVES)
    undisturbed = evaluate_robustness(standard_model, *test_digits, suite)
    started.clear()
    started.limit = 3
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(standard_model, *test_digits, suite, checkpoint_dir=tmp_path)
    started.clear()
    started.limit = 100
    resumed = evaluate_robustness(standard_model, *test_digits, suite, checkpoint_dir=tmp_path)
    assert len(started) == 7 - 3  # two attacks, three points of each curve, one of them an attack of the suite
    assert resumed.metrics == undisturbed.metrics
    assert all(np.array_equal(resumed.flags[name], each) for name, each in undisturbed.flags.items())


@pytest.mark.parametrize("what", ["weights", "images", "labels", "indices", "suite", "form"])
def test_cached_measurements_of_other_work_are_not_reused(
    standard_model: nn.Module,
    robust_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    tmp_path: Path,
    started: Any,
    what: str,
) -> None:
    images, labels = test_digits[0][:20], test_digits[1][:20]
    places = torch.arange(20)
    evaluate_robustness(standard_model, images, labels, make_suite(), indices=places, checkpoint_dir=tmp_path)
    started.clear()
    evaluate_robustness(standard_model, images, labels, make_suite(), checkpoint_dir=tmp_path)
    assert not started, "the same work is not repeated"
    model = {"weights": robust_model, "form": nn.Sequential(standard_model)}.get(what, standard_model)
    evaluate_robustness(
        model,
        1 - images if what == "images" else images,
        labels.roll(1) if what == "labels" else labels,
        make_suite(seed=1) if what == "suite" else make_suite(),
        indices=places + 1 if what == "indices" else places,
        checkpoint_dir=tmp_path,
    )
    assert len(list(tmp_path.iterdir())) == 2
