"""Sets of outliers: how well a model's confidence and energy tell them from clean test images."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.evaluate.images import TestImages
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.ood.answers import Scores, score_measurement
from nofrost.evaluate.ood.clean_answers import CleanAnswers
from nofrost.evaluate.ood.further_test_set import FurtherTestSet
from nofrost.measures import auroc, auroc_interval, false_positive_rate
from nofrost.results import Detection, OutlierSet


class OutlierTestSet(FurtherTestSet[TestImages]):
    """A set of images of no class of the dataset: no answer is right on them, and the model should not be sure."""

    kind = "outlier_sets"

    def measurements(self) -> list[Measurement]:
        """Return the measurement of confidence and energy."""
        return [self._scores]

    def result(self, engine: Engine, clean: CleanAnswers) -> OutlierSet:
        """Return how well both scores tell the outliers from the clean images of the classes that count."""
        scores, (known, _) = Scores(engine.values(self._scores)), clean.by(self.rule)
        return OutlierSet(
            name=self.images.manifest.name,
            data_sha256=self.images.checksum,
            indices_sha256=self.images.sample.indices_sha256(),
            samples=len(self.images.sample),
            max_softmax=_detection(known.confidence, scores.confidence),
            energy=_detection(known.energy, scores.energy),
        )

    def arrays(self, engine: Engine) -> dict[str, NDArray[Any]]:
        """Return indices and both scores."""
        scores = Scores(engine.values(self._scores))
        return {"indices": self.images.sample.indices, "confidence": scores.confidence, "energy": scores.energy}

    @cached_property
    def _scores(self) -> Measurement:
        return score_measurement(
            self.model, f"test-set-{self.name}", f"outliers {self.name}", self.rule, self.images.sample
        )


def _detection(known: NDArray[np.float64], outliers: NDArray[np.float64]) -> Detection:
    low, high = auroc_interval(known, outliers)
    return Detection(auroc=auroc(known, outliers), low=low, high=high, fpr95=false_positive_rate(known, outliers))
