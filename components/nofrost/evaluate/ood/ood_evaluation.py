"""The evaluation of a model with an ood suite: what is measured, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from nofrost.config import OodSuite
from nofrost.evaluate.evaluation import Evaluation, Findings
from nofrost.evaluate.images import CorruptedTestImages, FurtherImages
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.notices import notice_batch_effects
from nofrost.evaluate.ood.answers import WHOLE, answer_measurement, predicted
from nofrost.evaluate.ood.clean_answers import CleanAnswers, rules_of
from nofrost.evaluate.ood.corrupted_test_set import CorruptedTestSet
from nofrost.evaluate.ood.further_test_set import FurtherTestSet, Kind
from nofrost.evaluate.ood.labelled_test_set import LabelledTestSet
from nofrost.evaluate.ood.made_corruptions import conditions_of, corrupted_examples, corruption_measurement
from nofrost.evaluate.ood.outlier_test_set import OutlierTestSet
from nofrost.evaluate.ood.summaries import (
    ByCorruption,
    answer_keys,
    by_corruption,
    corrupted_answers,
    corruption_error,
    corruption_means,
)
from nofrost.results import Answers, OodMetrics, averaging_of

_NO_MEAN = {"mean_accuracy": None, "mean_low": None, "mean_high": None, "averaging": averaging_of(())}
_KINDS: tuple[type[FurtherTestSet[Any]], ...] = (LabelledTestSet, CorruptedTestSet, OutlierTestSet)


@dataclass(frozen=True)
class OodEvaluation(Evaluation[OodSuite]):
    """The evaluation of a model on corrupted test images and further test sets."""

    stage = "evaluate-ood"

    def measurements(self) -> list[Measurement]:
        further = [measurement for test_set in self._test_sets for measurement in test_set.measurements()]
        return [self._clean, *self._corrupted.values(), *further]

    def check_model(self, engine: Engine) -> None:
        conditions_of(self.suite, self.inputs.images)
        for test_set in self._test_sets:
            test_set.check(self.inputs.sample)
        super().check_model(engine)

    def findings(self, engine: Engine) -> Findings:
        sample, rules = engine.sample, rules_of(self.inputs.test_sets)
        clean = CleanAnswers(sample, engine.values(self._clean), rules)
        notice_batch_effects(engine, self.inputs.model, predicted(clean.values))
        answered, labels = clean.by(WHOLE)
        flags, calibration = corrupted_answers(engine, self._corrupted)
        arrays: dict[str, NDArray[Any]] = {
            "indices": sample.indices,
            "labels": sample.labels,
            "predictions": answered.classes,
            "correct/clean": clean.right(WHOLE),
            **{f"correct/{name}/{severity}": each for (name, severity), each in flags.items()},
            "confidence": answered.confidence,
            "energy": answered.energy,
        }
        further: dict[Kind, dict[str, Any]] = {each.kind: {} for each in _KINDS}
        for test_set in self._test_sets:
            further[test_set.kind][test_set.name] = test_set.result(engine, clean)
            arrays |= {f"test-sets/{test_set.name}/{key}": each for key, each in test_set.arrays(engine).items()}
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

    @cached_property
    def _clean(self) -> Measurement:
        return answer_measurement(self.inputs.model, "clean", "clean images", rules_of(self.inputs.test_sets))

    @cached_property
    def _corrupted(self) -> ByCorruption:
        conditions = conditions_of(self.suite, self.inputs.images)
        return {condition: corruption_measurement(self.suite, self.inputs, condition) for condition in conditions}

    @cached_property
    def _test_sets(self) -> list[FurtherTestSet[Any]]:
        """The further test sets, each kind by itself."""
        found = [self._test_set(name, images) for name, images in self.inputs.test_sets.items()]
        return sorted(found, key=lambda test_set: _KINDS.index(type(test_set)))

    def _test_set(self, name: str, images: FurtherImages) -> FurtherTestSet[Any]:
        model = self.inputs.model
        if isinstance(images, CorruptedTestImages):
            return CorruptedTestSet(name, images, model, self.suite.baseline)
        own = images.manifest.test_set
        return OutlierTestSet(name, images, model) if own and own.outliers else LabelledTestSet(name, images, model)
