"""Evaluation with an ood suite: corrupted test images (Hendrycks & Dietterich 2019), and further test sets."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.config import OodSuite
from nofrost.data import from_tensor, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate.evaluation import Evaluation, Findings
from nofrost.evaluate.images import TestImages
from nofrost.evaluate.inputs import channels_last
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.notices import notice_batch_effects
from nofrost.evaluate.properties.answers import log_probabilities
from nofrost.results import CorruptionAccuracy, OodMetrics, Proportion, SeverityPoint, TestSetAccuracy
from nofrost.statistics import Flags, wilson_interval
from nofrost.transforms.corruptions import check_corruption, corrupt, is_noise, noise_names

Corruption = tuple[str, int]  # name and severity


@dataclass(frozen=True)
class OodEvaluation(Evaluation[OodSuite]):
    """The evaluation of a model on corrupted test images and further test sets."""

    stage = "evaluate-ood"

    def measurements(self) -> list[Measurement]:
        model = self.inputs.model
        return [model.clean(), *self._corrupted().values(), _confidence(model), *self._on_test_sets().values()]

    def check_model(self, engine: Engine) -> None:
        self._conditions()
        super().check_model(engine)

    def findings(self, engine: Engine) -> Findings:
        predicted = self.inputs.model.clean()
        clean = engine.right(predicted)
        flags = {condition: engine.right(each) for condition, each in self._corrupted().items()}
        notice_batch_effects(engine, self.inputs.model, engine.values(predicted))
        confidence = engine.values(_confidence(self.inputs.model))
        arrays = {**_arrays(engine.sample, engine.values(predicted), clean, flags), "confidence": confidence}
        test_sets = {}
        for name, measurement in self._on_test_sets().items():
            images = self.inputs.test_sets[name]
            test_sets[name] = _test_set_accuracy(images, engine.right(measurement))
            values = {"indices": images.sample.indices, "labels": images.sample.labels}
            values["predictions"] = engine.values(measurement)
            arrays |= {f"test-sets/{name}/{key}": value for key, value in values.items()}
        metrics = _metrics(self.suite, engine.sample, clean, flags, test_sets)
        return Findings(metrics, arrays, self._examples(engine.sample))

    def _corrupted(self) -> dict[Corruption, Measurement]:
        model = self.inputs.model
        return {condition: self._measurement(model, condition) for condition in self._conditions()}

    def _measurement(self, model: EvaluatedModel, condition: Corruption) -> Measurement:
        """Return the measurement of whether the model is right on each corrupted image."""
        (name, severity), seed = condition, self.suite.seed
        noisy = self._noisy(condition)

        def right(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
            shown = corrupt(images, name, severity, seed=seed, indices=indices) if noisy is None else images
            return model.classify(shown) == labels

        return Measurement(f"{name}-{severity}", f"{name} {severity}", right, sample=noisy)

    def _noisy(self, condition: Corruption) -> Sample | None:
        """Return the images with noise in their stored pixels; None for a corruption of the resized ones."""
        (name, severity), seed = condition, self.suite.seed
        if not (self.suite.before_resize and is_noise(name)):
            return None

        def change(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
            noisy = corrupt(to_tensor(image[None]), name, severity, seed=seed, indices=[index])
            levels: NDArray[np.uint8] = from_tensor(noisy)[0]
            return levels

        return self.inputs.images.changed(change)

    def _examples(self, sample: Sample) -> dict[str, NDArray[Any]]:
        """Return the first image with every corruption at the highest severity."""
        severity = max(self.suite.severities)
        row = np.zeros(1, dtype=np.int64)
        image, index = sample.read(row), sample.indices[row]
        names = list(dict.fromkeys(self.suite.corruptions))
        shown = []
        for name in names:
            noisy = self._noisy((name, severity))
            corrupted = corrupt(image, name, severity, seed=self.suite.seed, indices=index)
            shown.append(channels_last(corrupted if noisy is None else noisy.read(row))[0])
        return {
            "image": channels_last(image)[0],
            "label": sample.labels[row],
            "index": index,
            "corrupted": np.stack(shown),
            "names": np.array(names),
            "severity": np.array([severity]),
        }

    def _on_test_sets(self) -> dict[str, Measurement]:
        """Return by name of each further test set the measurement of the classes that the model predicts on it."""
        clean = self.inputs.model.clean()
        return {
            name: replace(clean, name=f"test-set-{name}", title=f"test set {name}", sample=images.sample)
            for name, images in self.inputs.test_sets.items()
        }

    def _conditions(self) -> list[Corruption]:
        """Return every corruption at every severity, after checking that each can be made.

        Raises:
            UserError: the suite names an unknown corruption, or one that images of this kind do not have.
        """
        names, severities = dict.fromkeys(self.suite.corruptions), sorted(set(self.suite.severities))
        conditions = [(name, severity) for name in names for severity in severities]
        for name, severity in conditions:
            try:
                check_corruption(name, severity, channels=self.inputs.images.manifest.channels)
            except UserError as error:
                raise UserError(f"suite: corruptions: {error}") from None
        if self.suite.before_resize and self.inputs.images.sample.view is None:
            raise UserError(
                "suite: before_resize: the images are evaluated as they are stored, nothing is resized: set view, or "
                "leave before_resize out"
            )
        if self.suite.before_resize and not any(map(is_noise, names)):
            raise UserError(
                f"suite: before_resize: none of the corruptions is noise: add one of {', '.join(noise_names())}, or "
                "leave before_resize out"
            )
        return conditions


def _confidence(model: EvaluatedModel) -> Measurement:
    """Return the measurement of the probability of the predicted class of each clean image, float64 in [0, 1]."""

    @torch.no_grad()
    def confidence(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        return log_probabilities(model.logits(images)).amax(1).exp()

    return Measurement("confidence", "confidence", confidence, dtype=np.float64)


def _test_set_accuracy(images: TestImages, right: Flags) -> TestSetAccuracy:
    return TestSetAccuracy.of_flags(
        right,
        name=images.manifest.name,
        data_sha256=images.checksum,
        indices_sha256=images.sample.indices_sha256(),
    )


def _metrics(
    suite: OodSuite,
    sample: Sample,
    clean: Flags,
    flags: dict[Corruption, Flags],
    test_sets: dict[str, TestSetAccuracy],
) -> OodMetrics:
    corruptions = {}
    for name in dict.fromkeys(name for name, _ in flags):
        by_severity = {severity: each for (corruption, severity), each in flags.items() if corruption == name}
        points = tuple(SeverityPoint.of_flags(each, severity=severity) for severity, each in by_severity.items())
        corruptions[name] = CorruptionAccuracy(severities=points, **_mean(list(by_severity.values())))
    return OodMetrics(
        kind="ood",
        title=suite.title,
        samples=len(sample),
        seed=suite.seed,
        clean=Proportion.of_flags(clean),
        corruptions=corruptions,
        **_mean(list(flags.values())),
        averaging="unweighted mean over all corruptions and severities",
        test_sets=test_sets,
        indices_sha256=sample.indices_sha256(),
    )


def _mean(flags: list[Flags]) -> dict[str, float]:
    """Return the mean accuracy over conditions and its 95 % interval.

    The conditions share their images, so the counts are not independent. The interval is Wilson's for as many
    independent images as would give the spread that is seen between images (the effective sample size, Kish 1965).
    """
    per_image = np.mean(flags, axis=0)
    mean = float(per_image.mean())
    spread = float(per_image.var(ddof=1)) if len(per_image) > 1 else 0.0
    independent = mean * (1 - mean) / spread * len(per_image) if spread else len(per_image)
    effective = round(min(independent, len(flags) * len(per_image)))
    low, high = wilson_interval(round(mean * effective), effective)
    return {"mean_accuracy": mean, "mean_low": low, "mean_high": high}


def _arrays(
    sample: Sample, predictions: NDArray[np.int64], clean: Flags, flags: dict[Corruption, Flags]
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "indices": sample.indices,
        "labels": sample.labels,
        "predictions": predictions,
        "correct/clean": clean,
    }
    return arrays | {f"correct/{name}/{severity}": each for (name, severity), each in flags.items()}
