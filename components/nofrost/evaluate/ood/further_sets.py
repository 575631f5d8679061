"""Further test sets: answers among their classes, beside those on clean images of the same classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import Baseline
from nofrost.data import Manifest
from nofrost.errors import UserError
from nofrost.evaluate.images import CorruptedTestImages, FurtherImages, TestImages
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.measuring.sample import Sample, spaced_rows
from nofrost.evaluate.ood.answers import WHOLE, Answered, AnswerRule, answers, brief_answers, by_rule
from nofrost.evaluate.ood.made_corruptions import Corruption
from nofrost.evaluate.ood.summaries import (
    answer_keys,
    by_corruption,
    corruption_error,
    corruption_means,
    is_right,
)
from nofrost.measures import effective_robustness
from nofrost.results import Calibration, CorruptedSet, Proportion, TestSetAccuracy
from nofrost.statistics import Flags, unpaired_interval

Numbers = NDArray[np.int64]


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


def is_of_outliers(manifest: Manifest) -> bool:
    """Return whether the images of a test set are of no class of the dataset."""
    return manifest.test_set is not None and manifest.test_set.outliers


def rules_of(test_sets: Mapping[str, FurtherImages]) -> tuple[AnswerRule, ...]:
    """Return by which rules the clean images are answered: all classes first, then those of the test sets."""
    return tuple(dict.fromkeys([WHOLE, *(rule_of(images.manifest) for images in test_sets.values())]))


@dataclass(frozen=True)
class CleanAnswers:
    """The model's answers on the clean test images, by each rule that a test set asks for.

    Attributes:
        sample: the images.
        values: what was measured on them by `rules` (:func:`~nofrost.evaluate.ood.answers.answers`).
        rules: the first of them takes all classes.
    """

    sample: Sample
    values: NDArray[np.float64]
    rules: tuple[AnswerRule, ...]

    def by(self, rule: AnswerRule) -> tuple[Answered, Numbers]:
        """Return the answers on the images [n] whose class the rule has, and their labels by the rule."""
        labels = rule.labels(self.sample.labels)
        answered = by_rule(self.values, self.rules, rule)
        return Answered(answered.values[labels >= 0]), labels[labels >= 0]

    def right(self, rule: AnswerRule) -> Flags:
        """Return whether the model is right on the images [n] whose class the rule has."""
        answered, labels = self.by(rule)
        return np.equal(answered.classes, labels)


def check_test_sets(test_sets: Mapping[str, FurtherImages], sample: Sample) -> None:
    """Check that there are clean images of the classes of each test set.

    Raises:
        UserError: there are none.
    """
    for name, images in test_sets.items():
        if not (rule_of(images.manifest).labels(sample.labels) >= 0).any():
            raise UserError(
                f"none of the {len(sample):,} test images that are evaluated has a class of test set {name}, so there "
                "is nothing to compare it with: raise max_images, or leave the test set out"
            )


def test_set_answers(model: EvaluatedModel, name: str, images: TestImages) -> Measurement:
    """Return the measurement of the model's answers on a test set."""
    return answers(model, f"test-set-{name}", f"test set {name}", (rule_of(images.manifest),), images.sample)


def test_set_accuracy(images: TestImages, answered: Answered, clean: CleanAnswers) -> TestSetAccuracy:
    """Return what is said of a test set."""
    manifest = images.manifest
    classes = len(manifest.label_classes)
    keys = answer_keys(answered, _accepted(images), classes)
    of_clean = Proportion.of_flags(clean.right(rule_of(manifest)))
    low, high = unpaired_interval((of_clean.correct, of_clean.total), (keys["correct"], keys["total"]))
    return TestSetAccuracy(
        **keys,
        name=manifest.name,
        data_sha256=images.checksum,
        indices_sha256=images.sample.indices_sha256(),
        classes=classes,
        clean=of_clean,
        drop=of_clean.accuracy - keys["accuracy"],
        drop_low=low,
        drop_high=high,
        effective_robustness=effective_robustness(
            _published_name(manifest), of_clean.accuracy, keys["accuracy"], classes, len(manifest.classes)
        ),
        shape_bias=_shape_bias(images, answered),
    )


def test_set_arrays(images: TestImages, answered: Answered) -> dict[str, NDArray[Any]]:
    """Return the arrays of a test set in ``flags.npz``."""
    right = is_right(answered.classes[:, None], _accepted(images))
    values = {"indices": images.sample.indices, "labels": images.sample.labels}
    return {**values, "predictions": answered.classes, "correct": right}


def corrupted_set_answers(
    model: EvaluatedModel, name: str, images: CorruptedTestImages
) -> dict[Corruption, Measurement]:
    """Return the measurements of the model's answers on a corrupted set, one for each corruption and severity."""
    rule = rule_of(images.manifest)
    return {
        (corruption, severity): brief_answers(
            model,
            # No name of a test set has a point, so that none of these can be another set's.
            f"test-set-{name}.{corruption}-{severity}",
            f"test set {name}, {corruption} {severity}",
            rule,
            sample=sample,
        )
        for (corruption, severity), sample in images.samples.items()
    }


def corrupted_set_accuracy(
    images: CorruptedTestImages,
    flags: Mapping[Corruption, Flags],
    calibration: Calibration,
    clean: CleanAnswers,
    baseline: Baseline | None,
) -> CorruptedSet:
    """Return what is said of a corrupted set.

    Args:
        flags: [N] by corruption and severity, whether the model is right on each image.
        calibration: of all these answers.
        baseline: that corruption errors are relative to.
    """
    corruptions = by_corruption(flags)
    of_clean = Proportion.of_flags(clean.right(rule_of(images.manifest)))
    return CorruptedSet(
        **corruption_means(flags),
        name=images.manifest.name,
        data_sha256=images.checksum,
        corruptions=corruptions,
        corruption_error=corruption_error(baseline, of_clean, corruptions),
        calibration=calibration,
    )


def corrupted_set_arrays(images: CorruptedTestImages, flags: Mapping[Corruption, Flags]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a corrupted set in ``flags.npz``."""
    arrays: dict[str, NDArray[Any]] = {"indices": images.sample.indices, "labels": images.sample.labels}
    return arrays | {f"correct/{name}/{severity}": each for (name, severity), each in flags.items()}


def _published_name(manifest: Manifest) -> str:
    """Return under which name there may be a line through published models; ImageNet-V2 is three sets."""
    variant = manifest.config.get("variant")
    return f"{manifest.name}-{variant}" if manifest.name == "imagenet-v2" else manifest.name


def _accepted(images: TestImages) -> Numbers:
    """Return the right class of each image [N], or all its right classes [N, K]."""
    accepted = images.split.accepted
    return images.sample.labels if accepted is None else np.array(accepted[_rows(images)])


def _rows(images: TestImages) -> Numbers:
    return spaced_rows(len(images.split), len(images.sample))


def _shape_bias(images: TestImages, answered: Answered) -> Proportion | None:
    """Return the share of answers for the shape among those for shape or texture, where the two differ; None without
    such answers."""
    if images.split.textures is None:
        return None
    shapes, textures = images.sample.labels, np.asarray(images.split.textures[_rows(images)])
    conflict = shapes != textures
    shape, texture = (int((answered.classes == each)[conflict].sum()) for each in (shapes, textures))
    return Proportion.of(shape, shape + texture) if shape + texture else None
