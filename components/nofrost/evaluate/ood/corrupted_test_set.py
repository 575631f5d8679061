"""Published sets of corrupted test images: answers by corruption and severity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from nofrost.config import Baseline
from nofrost.evaluate.images import CorruptedTestImages
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.ood.answers import brief_answer_measurement
from nofrost.evaluate.ood.clean_answers import CleanAnswers
from nofrost.evaluate.ood.further_test_set import FurtherTestSet
from nofrost.evaluate.ood.made_corruptions import check_baseline
from nofrost.evaluate.ood.summaries import (
    ByCorruption,
    by_corruption,
    corrupted_answers,
    corruption_error,
    corruption_means,
)
from nofrost.results import CorruptedSet, Proportion

IMAGENET_C = "imagenet-c"


@dataclass(frozen=True)
class CorruptedTestSet(FurtherTestSet[CorruptedTestImages]):
    """A published set of corrupted test images.

    Attributes:
        baseline: of the suite, which corruption errors are relative to.
    """

    kind = "corrupted_sets"

    baseline: Baseline | None

    def check(self, clean: Sample) -> None:
        """Check also that it has all that the errors of a baseline are of."""
        super().check(clean)
        if self._baseline:
            check_baseline(self._baseline, list(self.images.samples), f"test set {self.name}")

    def measurements(self) -> list[Measurement]:
        """Return a measurement for each corruption and severity."""
        return list(self._by_corruption.values())

    def result(self, engine: Engine, clean: CleanAnswers) -> CorruptedSet:
        """Return accuracies by corruption and severity, their means, corruption errors and calibration."""
        flags, calibration = corrupted_answers(engine, self._by_corruption)
        assert calibration is not None
        corruptions = by_corruption(flags)
        of_clean = Proportion.of_flags(clean.right(self.rule))
        return CorruptedSet(
            **corruption_means(flags),
            name=self.images.manifest.name,
            data_sha256=self.images.checksum,
            corruptions=corruptions,
            corruption_error=corruption_error(self._baseline, of_clean, corruptions),
            calibration=calibration,
        )

    def arrays(self, engine: Engine) -> dict[str, NDArray[Any]]:
        """Return indices, labels, and whether the model is right by corruption and severity."""
        sample = self.images.sample
        arrays: dict[str, NDArray[Any]] = {"indices": sample.indices, "labels": sample.labels}
        right = {condition: engine.right(measurement) for condition, measurement in self._by_corruption.items()}
        return arrays | {f"correct/{name}/{severity}": each for (name, severity), each in right.items()}

    @property
    def _baseline(self) -> Baseline | None:
        """The baseline, which has errors of ImageNet-C alone."""
        return self.baseline if self.images.manifest.name == IMAGENET_C else None

    @cached_property
    def _by_corruption(self) -> ByCorruption:
        return {
            (corruption, severity): brief_answer_measurement(
                self.model,
                # No name of a test set has a point, so that none of these can be another set's.
                f"test-set-{self.name}.{corruption}-{severity}",
                f"test set {self.name}, {corruption} {severity}",
                self.rule,
                sample=sample,
            )
            for (corruption, severity), sample in self.images.samples.items()
        }
