"""The evaluation of a model with an ood suite: what is measured, and what is written of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import OodSuite
from nofrost.evaluate.evaluation import Evaluation, Findings
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.notices import notice_batch_effects
from nofrost.evaluate.ood.answers import WHOLE, answers, by_rule, predicted
from nofrost.evaluate.ood.further_sets import rules_of, test_set_accuracy, test_set_answers, test_set_arrays
from nofrost.evaluate.ood.made_corruptions import Corruption, conditions_of, corrupted_answers, corrupted_examples
from nofrost.evaluate.ood.summaries import answer_keys, by_corruption, calibration_of, corruption_error, mean_of
from nofrost.measures import Reliability
from nofrost.results import Answers, OodMetrics
from nofrost.statistics import Flags


@dataclass(frozen=True)
class OodEvaluation(Evaluation[OodSuite]):
    """The evaluation of a model on corrupted test images and further test sets."""

    stage = "evaluate-ood"

    def measurements(self) -> list[Measurement]:
        return [self._clean(), *self._corrupted().values(), *self._on_test_sets().values()]

    def check_model(self, engine: Engine) -> None:
        conditions_of(self.suite, self.inputs.images)
        super().check_model(engine)

    def findings(self, engine: Engine) -> Findings:
        sample, rules = engine.sample, rules_of(self.inputs.test_sets)
        values = engine.values(self._clean())
        notice_batch_effects(engine, self.inputs.model, predicted(values))
        clean = by_rule(values, rules, WHOLE)
        right = clean.classes == sample.labels
        flags, reliability = self._under_corruptions(engine)
        arrays = {**_arrays(engine, clean.classes, right, flags), "confidence": clean.confidence}
        arrays["energy"] = clean.energy
        test_sets = {}
        for name, measurement in self._on_test_sets().items():
            images = self.inputs.test_sets[name]
            answered = by_rule(engine.values(measurement), (WHOLE,), WHOLE)
            test_sets[name] = test_set_accuracy(images, answered, right)
            arrays |= {f"test-sets/{name}/{key}": each for key, each in test_set_arrays(images, answered).items()}
        corruptions = by_corruption(flags)
        answered_clean = Answers(**answer_keys(clean, sample.labels, len(self.inputs.images.manifest.classes)))
        metrics = OodMetrics(
            kind="ood",
            title=self.suite.title,
            samples=len(sample),
            seed=self.suite.seed,
            clean=answered_clean,
            corruptions=corruptions,
            corruption_error=corruption_error(self.suite.baseline, answered_clean, corruptions),
            corrupted_calibration=calibration_of(reliability) if flags else None,
            averaging="unweighted mean over all corruptions and severities",
            test_sets=test_sets,
            corrupted_sets={},
            outlier_sets={},
            indices_sha256=sample.indices_sha256(),
            **(dict(mean_of(list(flags.values()))) if flags else _NO_MEAN),
        )
        return Findings(metrics, arrays, corrupted_examples(self.suite, self.inputs.images, sample))

    def _clean(self) -> Measurement:
        return answers(self.inputs.model, "clean", "clean images", rules_of(self.inputs.test_sets))

    def _corrupted(self) -> dict[Corruption, Measurement]:
        conditions = conditions_of(self.suite, self.inputs.images)
        return {condition: corrupted_answers(self.suite, self.inputs, condition) for condition in conditions}

    def _on_test_sets(self) -> dict[str, Measurement]:
        return {name: test_set_answers(self.inputs.model, name, each) for name, each in self.inputs.test_sets.items()}

    def _under_corruptions(self, engine: Engine) -> tuple[dict[Corruption, Flags], Reliability]:
        """Return whether the model is right by condition, and how its confidence agrees with that over all of them."""
        flags, reliability = {}, Reliability(len(engine.sample))
        for condition, measurement in self._corrupted().items():
            values = engine.values(measurement)
            flags[condition] = engine.right(measurement)
            reliability.add(values[:, 1], flags[condition])
        return flags, reliability


_NO_MEAN = {"mean_accuracy": None, "mean_low": None, "mean_high": None}


def _arrays(
    engine: Engine, predictions: NDArray[np.int64], clean: Flags, flags: dict[Corruption, Flags]
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "indices": engine.sample.indices,
        "labels": engine.sample.labels,
        "predictions": predictions,
        "correct/clean": clean,
    }
    return arrays | {f"correct/{name}/{severity}": each for (name, severity), each in flags.items()}
