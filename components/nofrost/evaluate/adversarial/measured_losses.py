"""Losses and top-5 accuracy of clean and attacked images, and of images of the training split.

zeise2025 reports test losses, galloway2019 top-5 accuracy and the generalisation gap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.properties.answers import log_probabilities
from nofrost.evaluate.properties.suite import summary
from nofrost.results import GeneralisationGap, PropertySummary, Proportion
from nofrost.statistics import Flags, unpaired_interval

TOP = 5


class _Answer(NamedTuple):
    """The columns of what is measured of an image: its loss in nats, how many classes are likelier than the true one,
    and the predicted class. float32 holds all classes up to 16 million exactly."""

    cross_entropy: Any
    likelier: Any
    predicted: Any

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the columns of these logits [n, K] with the true classes [n]: float32 [n, 3]."""
        true = labels[:, None]
        cross_entropy = -log_probabilities(logits).gather(1, true).squeeze(1)
        likelier = (logits > logits.gather(1, true)).sum(1)
        return torch.stack([each.float() for each in cls(cross_entropy, likelier, logits.argmax(1))], 1)


@dataclass(frozen=True)
class MeasuredLosses:
    """By condition, float32 [N] the cross-entropy in nats, and [N] whether the class is among the five likeliest, which
    is empty for a model of no more classes."""

    cross_entropy: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    top_5: dict[str, Flags] = field(default_factory=dict)

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return what ``metrics.json`` says of them."""
        return {
            "cross_entropy": {name: summary(values.astype(np.float64)) for name, values in self.cross_entropy.items()},
            "top_5": {name: Proportion.of_flags(flags) for name, flags in self.top_5.items()},
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds of them."""
        arrays: dict[str, NDArray[Any]] = {f"cross_entropy/{name}": each for name, each in self.cross_entropy.items()}
        return arrays | {f"top_5/{name}": each for name, each in self.top_5.items()}


@dataclass(frozen=True)
class TrainingAnswers:
    """Images of the training split: [N] whether the model is right on each, and float32 [N] the cross-entropy."""

    sample: Sample
    right: Flags
    cross_entropy: NDArray[np.float32]

    def metrics(self, clean: Flags, test_loss: PropertySummary) -> GeneralisationGap:
        """Return what ``metrics.json`` says of them.

        Args:
            clean: [M] whether the model is right on each clean test image.
            test_loss: the cross-entropy of these.
        """
        training, test = Proportion.of_flags(self.right), Proportion.of_flags(clean)
        low, high = unpaired_interval((training.correct, training.total), (test.correct, test.total))
        loss = summary(self.cross_entropy.astype(np.float64))
        both = test_loss.mean is not None and loss.mean is not None
        return GeneralisationGap(
            accuracy=training,
            cross_entropy=loss,
            gap=training.accuracy - test.accuracy,
            gap_low=low,
            gap_high=high,
            loss_gap=test_loss.mean - loss.mean if both else None,  # type: ignore[operator]
            indices_sha256=self.sample.indices_sha256(),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds of them."""
        return {
            "training/indices": self.sample.indices,
            "training/correct": self.right,
            "training/cross_entropy": self.cross_entropy,
        }


def answers(model: EvaluatedModel, condition: Condition | None = None) -> Measurement:
    """Return the measurement of the answers to all images, clean ones or those that an attack makes, right or wrong."""

    def compute(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        if condition is not None:
            images = model.attack(condition, images, labels, indices, batch_size)
        return _Answer.of(model.finite_logits(images), labels)

    name, title = ("clean", "clean images") if condition is None else (condition.name, condition.title)
    return _measurement(f"answers-{name}", f"{title}, with losses", compute)


def training_answers(model: EvaluatedModel, sample: Sample) -> Measurement:
    """Return the measurement of the answers to images of the training split."""

    def compute(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        return _Answer.of(model.finite_logits(images), labels)

    return _measurement("answers-training", "training images", compute, sample=sample)


def measured_losses(engine: Engine, model: EvaluatedModel, measurements: Mapping[str, Measurement]) -> MeasuredLosses:
    """Return the losses by condition, and the top-5 accuracy of a model of more than five classes."""
    if not measurements:
        return MeasuredLosses()
    found = {name: _Answer(*engine.values(each).T) for name, each in measurements.items()}
    images, _, _ = engine.sample.batch(np.zeros(1, dtype=np.int64), engine.device)
    return MeasuredLosses(
        cross_entropy={name: np.ascontiguousarray(each.cross_entropy) for name, each in found.items()},
        top_5={name: each.likelier < TOP for name, each in found.items()} if model.classes(images) > TOP else {},
    )


def measured_training(engine: Engine, measurement: Measurement | None) -> TrainingAnswers | None:
    """Return the answers to images of the training split, None where the suite asks for none."""
    if measurement is None:
        return None
    loss = np.ascontiguousarray(_Answer(*engine.values(measurement).T).cross_entropy)
    return TrainingAnswers(engine.sample_of(measurement), engine.right(measurement), loss)


def _measurement(name: str, title: str, compute: Any, sample: Sample | None = None) -> Measurement:
    shape = (len(_Answer._fields),)
    return Measurement(name, title, compute, dtype=np.float32, shape=shape, classes=_predicted, sample=sample)


def _predicted(values: NDArray[Any]) -> NDArray[np.int64]:
    return _Answer(*values.T).predicted.astype(np.int64)  # type: ignore[no-any-return]
