"""What a suite asks to know of a model's layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from nofrost import models
from nofrost.config import AdversarialSuite
from nofrost.config.properties import BatchNormStatistics
from nofrost.evaluate.measurement import BRANCHES, Branch, Measurement
from nofrost.evaluate.plan import property_attacks
from nofrost.evaluate.properties.batch_norm import batch_norm_layers, batch_statistics
from nofrost.evaluate.properties.layers import LayerStatistics, MiniBatch
from nofrost.evaluate.properties.weights import weight_norms
from nofrost.evaluate.sample import Rows, batches


def measured_layers(measurement: Measurement, suite: AdversarialSuite) -> LayerStatistics:
    """Return what the suite asks to know of the model's layers; call inside ``measurement.ready()``."""
    spec = suite.properties
    if spec is None:
        return LayerStatistics()
    weights = weight_norms(measurement.model) if spec.weight_norms else ()
    layers = batch_norm_layers(measurement.model) if spec.batch_norm is not None else ()
    if spec.batch_norm is None or not layers:
        return LayerStatistics(weights)
    return LayerStatistics(weights, layers, tuple(_mini_batches(measurement, suite, spec.batch_norm)))


def _mini_batches(measurement: Measurement, suite: AdversarialSuite, spec: BatchNormStatistics) -> Iterator[MiniBatch]:
    """Yield the statistics of each mini-batch, first of all clean ones; in a mixture each kind in its own branch."""
    kinds = BRANCHES if spec.attack is not None else BRANCHES[:1]
    for kind in kinds:
        for place, rows in enumerate(_drawn(len(measurement.sample), suite.seed, spec)):
            with models.branch(measurement.model, kind):
                images = _images(measurement, suite, rows, kind).to(measurement.device)
                yield MiniBatch(f"{kind}-{place}", batch_statistics(measurement.model, images))


def _drawn(total: int, seed: int, spec: BatchNormStatistics) -> Iterator[Rows]:
    """Yield rows of the sample drawn at random, none twice; fewer mini-batches where there are too few images."""
    drawn = np.random.default_rng(seed).permutation(total)
    size = min(spec.batch_size, total)
    for place in range(min(spec.mini_batches, total // size) if size > 1 else 0):
        yield np.sort(drawn[place * size : (place + 1) * size])


def _images(measurement: Measurement, suite: AdversarialSuite, rows: Rows, kind: Branch) -> torch.Tensor:
    if kind == "clean":
        return measurement.sample.read(rows)
    condition = property_attacks(suite)["batch_norm"]
    parts = batches(rows, measurement.batch_size)
    return torch.cat([measurement.adversarial(condition, part) for part in parts])
