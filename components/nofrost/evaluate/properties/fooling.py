"""Fooling images: noise that is changed until a model takes it for a class (Nguyen et al. 2015; galloway2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import Model
from nofrost.attacks.random import Noise
from nofrost.attacks.session import attack_session
from nofrost.config import AdversarialSuite
from nofrost.config.properties import FoolingImagesSpec
from nofrost.data import from_tensor
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.properties.answers import log_probabilities
from nofrost.evaluate.properties.suite import summary
from nofrost.results import Proportion
from nofrost.results.properties import FoolingImages

SHOWN = 8  # images that are kept
_STREAM = 1 << 20  # of random numbers, beyond those of attacks


@dataclass(frozen=True)
class Fooling:
    """Images [M, C, H, W] in [0, 1] made from noise as `spec` says, the class int64 [M] that each aims at, and its
    probability float64 [M] in the end."""

    spec: FoolingImagesSpec
    images: Tensor
    targets: Tensor
    confidence: Tensor

    def metrics(self) -> FoolingImages:
        """Return what ``metrics.json`` says of them."""
        confidence = self.confidence.cpu().numpy()
        return FoolingImages(
            confident=Proportion.of_flags(confidence >= self.spec.confidence),
            confidence=summary(confidence, self.spec.as_json()),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``flags.npz`` holds of them: classes and probabilities, and the first images, uint8."""
        return {
            "fooling/targets": self.targets.cpu().numpy(),
            "fooling/confidence": self.confidence.cpu().numpy(),
            "fooling/images": from_tensor(self.images[:SHOWN]),
        }


def fooling_images(model: Model, noise: Tensor, targets: Tensor, spec: FoolingImagesSpec) -> Fooling:
    """Raise the probability of one class on each image of noise, by steps along the sign of the gradient in the box.

    Args:
        model: maps images to logits [M, K], its input normaliser inside.
        noise: where the ascent begins, floats [M, C, H, W] in [0, 1].
        targets: int64 [M], the class of each.
        spec: steps and their length.

    Raises:
        UserError: noise, targets or the model's answers are not as described, or its logits have no gradient.
    """
    points = noise
    with attack_session(model, noise, targets) as checked:
        for _ in range(spec.steps):
            _, _, gradient = checked.loss_and_grad(points, targets, error_log_odds)
            points = (points - float(spec.step_size) * gradient.sign()).clamp(0, 1)
        with torch.no_grad():
            logits = checked(points)
    confidence = log_probabilities(logits).gather(1, targets[:, None]).squeeze(1).exp()
    return Fooling(spec, points, targets, confidence)


def measured_fooling(engine: Engine, model: EvaluatedModel, suite: AdversarialSuite) -> Fooling | None:
    """Return the fooling images that a suite asks for, None if it asks for none; call inside ``engine.ready``.

    The n-th aims at class n, counted round, and begins at uniform noise of the suite's seed.
    """
    spec = suite.properties.fooling_images if suite.properties else None
    if spec is None:
        return None
    image, _, _ = engine.sample.batch(np.zeros(1, dtype=np.int64), engine.device)
    numbers = torch.arange(spec.images, device=engine.device)
    parts: list[Fooling] = []
    for part in torch.split(numbers, engine.within_memory(engine.batch_size)):
        noise = (Noise.of(suite.seed, part).stream(_STREAM).uniform(tuple(image.shape[1:]), image.dtype) + 1) / 2
        parts.append(fooling_images(model.network, noise, part % model.classes(image), spec))
    images, targets, confidence = (
        torch.cat(values)
        for values in zip(*((each.images, each.targets, each.confidence) for each in parts), strict=True)
    )
    return Fooling(spec, images, targets, confidence)
