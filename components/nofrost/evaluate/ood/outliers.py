"""Sets of outliers: how well a model's confidence and energy tell them from clean test images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.evaluate.images import TestImages
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.ood.answers import SCORES
from nofrost.evaluate.ood.further_sets import CleanAnswers, rule_of
from nofrost.measures import auroc, auroc_interval, false_positive_rate
from nofrost.results import Detection, OutlierSet

Scores = NDArray[np.float64]


def outlier_scores(model: EvaluatedModel, name: str, images: TestImages) -> Measurement:
    """Return the measurement of confidence and energy on outliers, float64 [N, 2]; no answer is right on them."""
    rule = rule_of(images.manifest)

    @torch.no_grad()
    def compute(pixels: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        return rule.read(model.finite_logits(pixels))[:, SCORES]

    title = f"outliers {name}"
    return Measurement(f"test-set-{name}", title, compute, dtype=np.float64, shape=(2,), sample=images.sample)


def outlier_set(images: TestImages, values: Scores, clean: CleanAnswers) -> OutlierSet:
    """Return what is said of a set of outliers, beside the clean images of the classes that count.

    Args:
        values: what :func:`outlier_scores` measured.
    """
    known, _ = clean.by(rule_of(images.manifest))
    return OutlierSet(
        name=images.manifest.name,
        data_sha256=images.checksum,
        indices_sha256=images.sample.indices_sha256(),
        samples=len(values),
        max_softmax=_detection(known.confidence, values[:, 0]),
        energy=_detection(known.energy, values[:, 1]),
    )


def outlier_arrays(images: TestImages, values: Scores) -> dict[str, NDArray[Any]]:
    """Return the arrays of a set of outliers in ``flags.npz``."""
    return {"indices": images.sample.indices, "confidence": values[:, 0], "energy": values[:, 1]}


def _detection(known: Scores, outliers: Scores) -> Detection:
    low, high = auroc_interval(known, outliers)
    return Detection(auroc=auroc(known, outliers), low=low, high=high, fpr95=false_positive_rate(known, outliers))
