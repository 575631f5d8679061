"""The properties that the evaluation left in a run's folder: summaries, values of each image, values of each layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report.runs import Run
from nofrost.results import PropertySummary, WeightNorms


@dataclass(frozen=True)
class BatchNorm:
    """The arrays [C] of one batch norm: `held` by value (mean, variance, weight, bias), and by mini-batch what that
    has for mean and variance."""

    layer: str
    held: dict[str, NDArray[np.float32]]
    mini_batches: dict[str, dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class RunProperties:
    """What was measured of one run beside its accuracy; what was not is empty.

    Args:
        summaries: by property.
        values: by property, [N].
        weight_norms: of the layers.
        batch_norms: by branch, the batch norms in the model's order.
    """

    summaries: dict[str, PropertySummary]
    values: dict[str, NDArray[np.float64]]
    weight_norms: WeightNorms | None
    batch_norms: dict[str, list[BatchNorm]]


def read_properties(run: Run) -> RunProperties:
    """Return the properties of a run.

    Raises:
        UserError: a file is damaged, or its values are not those of the summary.
    """
    folder = run.folder / "evaluate-adversarial"
    metrics = run.adversarial
    arrays = read_arrays(folder / "flags.npz") if metrics.properties else {}
    values = {
        name: _checked(arrays.get(f"properties/{name}"), summary, f"{folder / 'flags.npz'}: properties/{name}")
        for name, summary in metrics.properties.items()
    }
    path = folder / "properties.npz"
    of_layers = read_arrays(path) if path.is_file() else {}
    return RunProperties(metrics.properties, values, metrics.weight_norms, _batch_norms(of_layers))


def _checked(values: NDArray[Any] | None, summary: PropertySummary, origin: str) -> NDArray[np.float64]:
    if values is not None and values.dtype == np.float64 and values.shape == (summary.total,):
        finite = values[np.isfinite(values)]
        mean = float(finite.mean()) if len(finite) else None
        if mean == summary.mean or (mean and summary.mean and math.isclose(mean, summary.mean, rel_tol=1e-9)):
            return values
    raise UserError(f"{origin} is not {summary.total} values of the mean in metrics.json: evaluate this run again")


def _batch_norms(arrays: dict[str, NDArray[Any]]) -> dict[str, list[BatchNorm]]:
    found: dict[str, dict[str, BatchNorm]] = {}
    for branch, layer, value, values in _of_kind("batch_norm", arrays):
        found.setdefault(branch, {}).setdefault(layer, BatchNorm(layer, {}, {})).held[value] = values
    for batch, layer, value, values in _of_kind("mini_batches", arrays):
        for branch in ("all", batch.partition("-")[0]):
            if layer in found.get(branch, {}):
                found[branch][layer].mini_batches.setdefault(batch, {})[value] = values
    return {branch: list(norms.values()) for branch, norms in found.items()}


def _of_kind(kind: str, arrays: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str, str, NDArray[Any]]]:
    """Yield group, layer, value and array of what is called KIND/GROUP/LAYER/VALUE."""
    for name, values in arrays.items():
        if name.startswith(f"{kind}/"):
            _, group, place = name.split("/", 2)
            layer, _, value = place.rpartition("/")
            yield group, layer, value, values
