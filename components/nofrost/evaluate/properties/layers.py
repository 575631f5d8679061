"""Properties of a model's layers: weight norms and batch norm statistics."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.evaluate.properties.batch_norm import BatchNormLayer, batch_norm_layers
from nofrost.evaluate.properties.weights import log_product, weight_norms
from nofrost.results import BatchNormStatistics, LayerMetrics, LayerNorms, WeightNorms

VALUES = ("mean", "variance", "weight", "bias")
ZERO = 0.01  # |γ| or |β| below this counts towards zeise2025's spike at zero


@dataclass(frozen=True)
class MiniBatch:
    """The statistics of one batch of images at every batch norm: by layer, mean and unbiased variance, each [C].

    Args:
        name: which batch it is, such as ``adversarial-0``.
    """

    name: str
    statistics: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LayerStatistics:
    """Norms of all weights, what all batch norms hold, and statistics of mini-batches; what was not measured is empty.

    Everything is in the model's order.
    """

    weights: tuple[LayerNorms, ...] = ()
    batch_norms: tuple[BatchNormLayer, ...] = ()
    mini_batches: tuple[MiniBatch, ...] = ()

    def metrics(self) -> LayerMetrics:
        """Return the norms, and of each batch norm the ranges of its values."""
        return LayerMetrics(weight_norms=self._weight_norms(), batch_norm=tuple(map(_ranges, self.batch_norms)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what ``properties.npz`` holds.

        ``weight_norms/layers``, ``/frobenius`` and ``/spectral`` with one entry for each layer,
        ``batch_norm/BRANCH/LAYER/VALUE`` [C] with the values mean, variance, weight and bias, and
        ``mini_batches/BATCH/LAYER/VALUE`` [C] with mean and variance.
        """
        return dict(self._named_arrays())

    def _weight_norms(self) -> WeightNorms | None:
        if not self.weights:
            return None
        return WeightNorms(
            layers=self.weights,
            log10_spectral_product=log_product([norms.spectral for norms in self.weights]),
            log10_frobenius_product=log_product([norms.frobenius for norms in self.weights]),
        )

    def _named_arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        if self.weights:
            yield "weight_norms/layers", np.array([norms.layer for norms in self.weights])
            yield "weight_norms/frobenius", np.array([norms.frobenius for norms in self.weights])
            yield "weight_norms/spectral", np.array([norms.spectral for norms in self.weights])
        for layer in self.batch_norms:
            for value in VALUES:
                tensor = getattr(layer, value)
                if tensor is not None:
                    yield f"batch_norm/{layer.branch}/{layer.name}/{value}", tensor.numpy()
        for batch in self.mini_batches:
            for name, statistics in batch.statistics.items():
                for value, measured in zip(VALUES, statistics, strict=False):
                    yield f"mini_batches/{batch.name}/{name}/{value}", measured.numpy()


def layer_statistics(model: nn.Module) -> LayerStatistics:
    """Return what the layers of a model hold; it needs no images."""
    return LayerStatistics(weight_norms(model), batch_norm_layers(model))


def _ranges(layer: BatchNormLayer) -> BatchNormStatistics:
    """Return least, median and largest of each kind of value, and the share of γ and β near zero (zeise2025 Fig. 2)."""
    ranges: dict[str, Any] = {}
    for value in VALUES:
        tensor = getattr(layer, value)
        if tensor is not None:
            ranges[value] = tuple(float(np.quantile(tensor.numpy(), quantile)) for quantile in (0, 0.5, 1))
    for value in ("weight", "bias"):
        tensor = getattr(layer, value)
        if tensor is not None:
            ranges[f"{value}_near_zero"] = float((tensor.abs() < ZERO).double().mean())
    return BatchNormStatistics(layer=layer.name, branch=layer.branch, **ranges)
