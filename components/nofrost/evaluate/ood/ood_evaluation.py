"""The evaluation of a model with an ood suite: what is measured, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from numpy.typing import NDArray

from nofrost.config import Baseline, OodSuite
from nofrost.evaluate.evaluation import Evaluation, Findings
from nofrost.evaluate.images import CorruptedTestImages, FurtherImages, TestImages
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.notices import notice_batch_effects
from nofrost.evaluate.ood.answers import WHOLE, Answered, answers, predicted
from nofrost.evaluate.ood.further_sets import (
    CleanAnswers,
    check_test_sets,
    corrupted_set_accuracy,
    corrupted_set_answers,
    corrupted_set_arrays,
    is_of_outliers,
    rules_of,
    test_set_accuracy,
    test_set_answers,
    test_set_arrays,
)
from nofrost.evaluate.ood.made_corruptions import (
    Corruption,
    check_baseline,
    conditions_of,
    corrupted_answers,
    corrupted_examples,
)
from nofrost.evaluate.ood.outliers import outlier_arrays, outlier_scores, outlier_set
from nofrost.evaluate.ood.summaries import (
    answer_keys,
    by_corruption,
    calibration_of,
    corruption_error,
    corruption_means,
)
from nofrost.measures import Reliability
from nofrost.results import Answers, Calibration, CorruptedSet, OodMetrics, OutlierSet, TestSetAccuracy, averaging_of
from nofrost.statistics import Flags

IMAGENET_C = "imagenet-c"
_NO_MEAN = {"mean_accuracy": None, "mean_low": None, "mean_high": None, "averaging": averaging_of(())}

ByCondition = Mapping[Corruption, Measurement]


@dataclass(frozen=True)
class OodEvaluation(Evaluation[OodSuite]):
    """The evaluation of a model on corrupted test images and further test sets."""

    stage = "evaluate-ood"

    def measurements(self) -> list[Measurement]:
        conditions = [each for one in self._corrupted_sets.values() for each in one.values()]
        return [
            self._clean,
            *self._corrupted.values(),
            *self._test_sets.values(),
            *conditions,
            *self._outliers.values(),
        ]

    def check_model(self, engine: Engine) -> None:
        conditions_of(self.suite, self.inputs.images)
        check_test_sets(self.inputs.test_sets, self.inputs.sample)
        for name, images in self._images.corrupted.items():
            if baseline := self._baseline_of(images):
                check_baseline(baseline, list(images.samples), f"test set {name}")
        super().check_model(engine)

    def findings(self, engine: Engine) -> Findings:
        sample, rules = engine.sample, rules_of(self.inputs.test_sets)
        clean = CleanAnswers(sample, engine.values(self._clean), rules)
        notice_batch_effects(engine, self.inputs.model, predicted(clean.values))
        answered, labels = clean.by(WHOLE)
        flags, calibration = _answers_to(engine, self._corrupted)
        arrays: dict[str, NDArray[Any]] = {
            "indices": sample.indices,
            "labels": sample.labels,
            "predictions": answered.classes,
            "correct/clean": clean.right(WHOLE),
            **{f"correct/{name}/{severity}": each for (name, severity), each in flags.items()},
            "confidence": answered.confidence,
            "energy": answered.energy,
        }
        further = {
            "test_sets": self._further_sets(engine, clean, arrays),
            "corrupted_sets": self._further_corrupted_sets(engine, clean, arrays),
            "outlier_sets": self._further_outliers(engine, clean, arrays),
        }
        corruptions = by_corruption(flags)
        of_clean = Answers(**answer_keys(answered, labels, len(self.inputs.images.manifest.classes)))
        metrics = OodMetrics(
            kind="ood",
            title=self.suite.title,
            samples=len(sample),
            seed=self.suite.seed,
            clean=of_clean,
            corruptions=corruptions,
            corruption_error=corruption_error(self.suite.baseline, of_clean, corruptions),
            corrupted_calibration=calibration,
            **further,
            indices_sha256=sample.indices_sha256(),
            **(corruption_means(flags) if flags else _NO_MEAN),
        )
        return Findings(metrics, arrays, corrupted_examples(self.suite, self.inputs.images, sample))

    def _further_sets(
        self, engine: Engine, clean: CleanAnswers, arrays: dict[str, NDArray[Any]]
    ) -> dict[str, TestSetAccuracy]:
        """Return what is said of each test set, and add its arrays."""
        found = {}
        for name, measurement in self._test_sets.items():
            images = self._images.plain[name]
            answered = Answered(engine.values(measurement))
            found[name] = test_set_accuracy(images, answered, clean)
            _add(arrays, name, test_set_arrays(images, answered))
        return found

    def _further_corrupted_sets(
        self, engine: Engine, clean: CleanAnswers, arrays: dict[str, NDArray[Any]]
    ) -> dict[str, CorruptedSet]:
        """Return what is said of each corrupted set, and add its arrays."""
        found = {}
        for name, images in self._images.corrupted.items():
            flags, calibration = _answers_to(engine, self._corrupted_sets[name])
            assert calibration is not None
            found[name] = corrupted_set_accuracy(images, flags, calibration, clean, self._baseline_of(images))
            _add(arrays, name, corrupted_set_arrays(images, flags))
        return found

    def _further_outliers(
        self, engine: Engine, clean: CleanAnswers, arrays: dict[str, NDArray[Any]]
    ) -> dict[str, OutlierSet]:
        """Return what is said of each set of outliers, and add its arrays."""
        found = {}
        for name, measurement in self._outliers.items():
            images, values = self._images.outliers[name], engine.values(measurement)
            found[name] = outlier_set(images, values, clean)
            _add(arrays, name, outlier_arrays(images, values))
        return found

    def _baseline_of(self, images: CorruptedTestImages) -> Baseline | None:
        """Return what errors on a published set are relative to: a baseline has errors of ImageNet-C alone."""
        return self.suite.baseline if images.manifest.name == IMAGENET_C else None

    @cached_property
    def _images(self) -> _ByKind:
        return _ByKind.of(self.inputs.test_sets)

    @cached_property
    def _clean(self) -> Measurement:
        return answers(self.inputs.model, "clean", "clean images", rules_of(self.inputs.test_sets))

    @cached_property
    def _corrupted(self) -> ByCondition:
        conditions = conditions_of(self.suite, self.inputs.images)
        return {condition: corrupted_answers(self.suite, self.inputs, condition) for condition in conditions}

    @cached_property
    def _test_sets(self) -> dict[str, Measurement]:
        return {name: test_set_answers(self.inputs.model, name, each) for name, each in self._images.plain.items()}

    @cached_property
    def _corrupted_sets(self) -> dict[str, ByCondition]:
        images = self._images.corrupted
        return {name: corrupted_set_answers(self.inputs.model, name, each) for name, each in images.items()}

    @cached_property
    def _outliers(self) -> dict[str, Measurement]:
        return {name: outlier_scores(self.inputs.model, name, each) for name, each in self._images.outliers.items()}


@dataclass(frozen=True)
class _ByKind:
    """The further test sets by name, each kind by itself."""

    plain: dict[str, TestImages]
    corrupted: dict[str, CorruptedTestImages]
    outliers: dict[str, TestImages]

    @classmethod
    def of(cls, test_sets: Mapping[str, FurtherImages]) -> Self:
        corrupted = {name: each for name, each in test_sets.items() if isinstance(each, CorruptedTestImages)}
        others = {name: each for name, each in test_sets.items() if isinstance(each, TestImages)}
        outliers = {name: each for name, each in others.items() if is_of_outliers(each.manifest)}
        plain = {name: each for name, each in others.items() if name not in outliers}
        return cls(plain, corrupted, outliers)


def _answers_to(engine: Engine, measurements: ByCondition) -> tuple[dict[Corruption, Flags], Calibration | None]:
    """Return whether the model is right by condition, and the calibration of all these answers; None without any."""
    flags: dict[Corruption, Flags] = {}
    reliability: Reliability | None = None
    for condition, measurement in measurements.items():
        values = engine.values(measurement)
        flags[condition] = engine.right(measurement)
        reliability = reliability or Reliability(len(values))
        reliability.add(values[:, 1], flags[condition])
    return flags, calibration_of(reliability) if reliability else None


def _add(arrays: dict[str, NDArray[Any]], test_set: str, added: Mapping[str, NDArray[Any]]) -> None:
    arrays |= {f"test-sets/{test_set}/{key}": each for key, each in added.items()}
