"""Further test sets of labelled images: answers among their classes, beside those on clean images of these classes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data import Manifest
from nofrost.evaluate.images import TestImages
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import spaced_rows
from nofrost.evaluate.ood.answers import Answered, answer_measurement
from nofrost.evaluate.ood.clean_answers import CleanAnswers
from nofrost.evaluate.ood.further_test_set import FurtherTestSet
from nofrost.evaluate.ood.summaries import answer_keys, is_right
from nofrost.measures import effective_robustness
from nofrost.results import Proportion, TestSetAccuracy
from nofrost.statistics import unpaired_interval


class LabelledTestSet(FurtherTestSet[TestImages]):
    """A set of labelled images, which have some or all of the dataset's classes, or groups of them."""

    kind = "test_sets"

    def measurements(self) -> list[Measurement]:
        """Return the measurement of the model's answers."""
        return [self._answers]

    def result(self, engine: Engine, clean: CleanAnswers) -> TestSetAccuracy:
        """Return accuracy, top-5 accuracy and calibration, and how much lower it is than on clean images."""
        manifest, answered = self.images.manifest, self._answered(engine)
        classes = len(manifest.label_classes)
        keys = answer_keys(answered, self._accepted, classes)
        of_clean = Proportion.of_flags(clean.right(self.rule))
        low, high = unpaired_interval((of_clean.correct, of_clean.total), (keys["correct"], keys["total"]))
        return TestSetAccuracy(
            **keys,
            name=manifest.name,
            data_sha256=self.images.checksum,
            indices_sha256=self.images.sample.indices_sha256(),
            classes=classes,
            clean=of_clean,
            drop=of_clean.accuracy - keys["accuracy"],
            drop_low=low,
            drop_high=high,
            effective_robustness=effective_robustness(
                _published_name(manifest), of_clean.accuracy, keys["accuracy"], classes, len(manifest.classes)
            ),
            shape_bias=self._shape_bias(answered),
        )

    def arrays(self, engine: Engine) -> dict[str, NDArray[Any]]:
        """Return indices, labels, predictions, and whether they are right."""
        answered, sample = self._answered(engine), self.images.sample
        right = is_right(answered.classes[:, None], self._accepted)
        return {
            "indices": sample.indices,
            "labels": sample.labels,
            "predictions": answered.classes,
            "correct": right,
        }

    @cached_property
    def _answers(self) -> Measurement:
        return answer_measurement(
            self.model, f"test-set-{self.name}", f"test set {self.name}", (self.rule,), self.images.sample
        )

    def _answered(self, engine: Engine) -> Answered:
        return Answered(engine.values(self._answers))

    @property
    def _accepted(self) -> NDArray[np.int64]:
        """The right class of each image [N], or all its right classes [N, K]."""
        accepted = self.images.split.accepted
        return self.images.sample.labels if accepted is None else np.array(accepted[self._rows])

    @property
    def _rows(self) -> NDArray[np.int64]:
        return spaced_rows(len(self.images.split), len(self.images.sample))

    def _shape_bias(self, answered: Answered) -> Proportion | None:
        """Return the share of answers for the shape among those for shape or texture, where the two differ; None
        without such answers."""
        if self.images.split.textures is None:
            return None
        shapes, textures = self.images.sample.labels, np.asarray(self.images.split.textures[self._rows])
        conflict = shapes != textures
        shape, texture = (int((answered.classes == each)[conflict].sum()) for each in (shapes, textures))
        return Proportion.of(shape, shape + texture) if shape + texture else None


def _published_name(manifest: Manifest) -> str:
    """Return under which name there may be a line through published models; ImageNet-V2 is three sets."""
    variant = manifest.config.get("variant")
    return f"{manifest.name}-{variant}" if manifest.name == "imagenet-v2" else manifest.name
