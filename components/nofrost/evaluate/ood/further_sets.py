"""Further test sets: answers among their classes, beside those on clean images of the same classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from nofrost.evaluate.images import TestImages
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.ood.answers import WHOLE, Answered, AnswerRule, answers
from nofrost.evaluate.ood.summaries import answer_keys
from nofrost.results import Proportion, TestSetAccuracy
from nofrost.statistics import Flags, unpaired_interval


def rules_of(test_sets: Mapping[str, TestImages]) -> tuple[AnswerRule, ...]:
    """Return by which rules the clean images are answered: all classes, and those of the test sets."""
    return (WHOLE,)


def test_set_answers(model: EvaluatedModel, name: str, images: TestImages) -> Measurement:
    """Return the measurement of the model's answers on a test set."""
    return answers(model, f"test-set-{name}", f"test set {name}", (WHOLE,), images.sample)


def test_set_accuracy(images: TestImages, answered: Answered, clean: Flags) -> TestSetAccuracy:
    """Return what is said of a test set.

    Args:
        clean: whether the model is right on each clean image of the same classes.
    """
    classes = len(images.manifest.classes)
    keys = answer_keys(answered, images.sample.labels, classes)
    of_clean = Proportion.of_flags(clean)
    low, high = unpaired_interval((of_clean.correct, of_clean.total), (keys["correct"], keys["total"]))
    return TestSetAccuracy(
        **keys,
        name=images.manifest.name,
        data_sha256=images.checksum,
        indices_sha256=images.sample.indices_sha256(),
        classes=classes,
        clean=of_clean,
        drop=of_clean.accuracy - keys["accuracy"],
        drop_low=low,
        drop_high=high,
        effective_robustness=None,
        shape_bias=None,
    )


def test_set_arrays(images: TestImages, answered: Answered) -> dict[str, NDArray[Any]]:
    """Return the arrays of a test set in ``flags.npz``."""
    right = answered.classes == images.sample.labels
    values = {"indices": images.sample.indices, "labels": images.sample.labels}
    return {**values, "predictions": answered.classes, "correct": right}
