"""A model's answers on the clean test images, by each rule that a further test set asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nofrost.data import Manifest
from nofrost.evaluate.images import FurtherImages
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.ood.answers import WHOLE, Answered, AnswerRule, by_rule
from nofrost.statistics import Flags


def rule_of(manifest: Manifest) -> AnswerRule:
    """Return how a model of the dataset is asked about the images of a test set.

    Of outliers, each output that counts is an answer of its own.
    """
    own = manifest.test_set
    if own is None:
        return WHOLE
    outputs = tuple((each,) for each in own.outputs[0]) if own.outliers else own.outputs
    every = tuple((number,) for number in range(len(manifest.classes)))
    return WHOLE if outputs == every else AnswerRule(outputs, own.answer)


def rules_of(test_sets: Mapping[str, FurtherImages]) -> tuple[AnswerRule, ...]:
    """Return by which rules the clean images are answered: all classes first, then those of the test sets."""
    return tuple(dict.fromkeys([WHOLE, *(rule_of(images.manifest) for images in test_sets.values())]))


@dataclass(frozen=True)
class CleanAnswers:
    """The model's answers on the clean test images, by each rule that a test set asks for.

    Attributes:
        sample: the images.
        values: what was measured on them by `rules` (:func:`~nofrost.evaluate.ood.answers.answer_measurement`).
        rules: the first of them takes all classes.
    """

    sample: Sample
    values: NDArray[np.float64]
    rules: tuple[AnswerRule, ...]

    def by(self, rule: AnswerRule) -> tuple[Answered, NDArray[np.int64]]:
        """Return the answers on the images [n] whose class the rule has, and their labels by the rule."""
        labels = rule.labels(self.sample.labels)
        answered = by_rule(self.values, self.rules, rule)
        return Answered(answered.values[labels >= 0]), labels[labels >= 0]

    def right(self, rule: AnswerRule) -> Flags:
        """Return whether the model is right on the images [n] whose class the rule has."""
        answered, labels = self.by(rule)
        return np.equal(answered.classes, labels)
