"""Plausible results of an evaluation with an ood suite, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from nofrost.results import Answers, Calibration, Proportion, ReliabilityBin


def calibration(accuracy: float, count: int = 100, error: float = 0.04) -> Calibration:
    """Return a calibration whose images are all in one bin, overconfident by `error`."""
    one = ReliabilityBin(count=count, confidence=min(1.0, accuracy + error), accuracy=accuracy)
    return Calibration(error=error, low=error / 2, high=min(1.0, 2 * error), bins=(one,))


def answer_keys(correct: int, total: int) -> dict[str, Any]:
    """Return the keys of :class:`Answers` for `correct` of `total` images."""
    accuracy = Proportion.of(correct, total)
    top5 = Proportion.of(min(total, correct + total // 50), total)
    return {**dict(accuracy), "top5": top5, "calibration": calibration(accuracy.accuracy, total)}


def answers(correct: int, total: int) -> Answers:
    """Return answers of which `correct` of `total` are right."""
    return Answers(**answer_keys(correct, total))


def keys_of_test_set(correct: int, total: int, clean: Proportion) -> dict[str, Any]:
    """Return what a test set of ten classes has beside its name and checksums."""
    drop = clean.accuracy - correct / total
    return {
        **answer_keys(correct, total),
        "classes": 10,
        "clean": clean,
        "drop": drop,
        "drop_low": max(-1.0, drop - 0.02),
        "drop_high": min(1.0, drop + 0.02),
        "effective_robustness": None,
        "shape_bias": None,
    }
