"""The properties that a suite asks for: of each image, measured batch by batch, and of the model's layers."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.attacks.model import model_std
from nofrost.config import AdversarialSuite
from nofrost.config.base import Schema
from nofrost.config.properties import BatchNormSpec, BoundaryThickness
from nofrost.errors import UserError
from nofrost.evaluate.measuring.attacking import BRANCHES, Branch, EvaluatedModel
from nofrost.evaluate.measuring.condition import Condition
from nofrost.evaluate.measuring.engine import Compute, Engine, Measurement
from nofrost.evaluate.measuring.sample import Rows
from nofrost.evaluate.properties.answers import ORDERS, decision_margin, gradient_norm, model_smoothness
from nofrost.evaluate.properties.batch_norm import batch_norm_layers, batch_statistics
from nofrost.evaluate.properties.boundary import boundary_distance, boundary_thickness
from nofrost.evaluate.properties.layers import LayerStatistics, MiniBatch
from nofrost.evaluate.properties.weights import weight_norms
from nofrost.results import PropertySummary
from nofrost.statistics import mean_interval

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def property_attacks(suite: AdversarialSuite) -> dict[str, Condition]:
    """Return the attacks that properties of the suite are measured with: by the property, at the suite's threat."""
    if suite.properties is None:
        return {}
    specs = {"model_smoothness": suite.properties.model_smoothness, "batch_norm": suite.properties.batch_norm}
    threat = suite.threat
    return {
        name: Condition(f"properties.{name}.attack", spec.attack, threat.norm, threat.eps.value, suite.seed)
        for name, spec in specs.items()
        if spec is not None and spec.attack is not None
    }


def property_measurements(model: nn.Module, suite: AdversarialSuite) -> dict[str, Measurement]:
    """Return the measurement of every property of each image that the suite asks for, float64 [N], by name.

    A mixture-BN model is measured as it is deployed.

    Raises:
        UserError: an attack cannot be created, or the model does not fit a property; the message names the key.
    """
    return {
        name: Measurement(f"property-{name}", name.replace("_", " "), compute, dtype=np.float64)
        for name, compute in _properties(model, suite).items()
    }


def measured_layers(engine: Engine, model: EvaluatedModel, suite: AdversarialSuite) -> LayerStatistics:
    """Return what the suite asks to know of the model's layers; call inside ``engine.ready``."""
    spec = suite.properties
    if spec is None:
        return LayerStatistics()
    weights = weight_norms(model.network) if spec.weight_norms else ()
    layers = batch_norm_layers(model.network) if spec.batch_norm is not None else ()
    if spec.batch_norm is None or not layers:
        return LayerStatistics(weights)
    return LayerStatistics(weights, layers, tuple(_mini_batches(engine, model, suite, spec.batch_norm)))


def summaries(properties: Mapping[str, NDArray[np.float64]], suite: AdversarialSuite) -> dict[str, PropertySummary]:
    """Return the summary of each property of images, with the options of its measurement, by name."""
    summarised = {}
    thicknesses = _thicknesses(suite.properties.boundary_thickness if suite.properties else None)
    for name, values in properties.items():
        options = thicknesses.get(name) or getattr(suite.properties, name, None)
        summarised[name] = summary(values, options.as_json() if isinstance(options, Schema) else {})
    return summarised


def summary(values: NDArray[np.float64], options: Mapping[str, Any] | None = None) -> PropertySummary:
    """Return mean, sample standard deviation (ddof = 1), the mean's 95 % interval and quantiles over N images.

    Args:
        values: [N]. Infinite ones, such as the distance to a boundary that was not found, are counted and left out of
            everything else.
        options: how the property was measured.
    """
    finite = values[np.isfinite(values)]
    mean, deviation, low, high = mean_interval(finite) if len(finite) else (None,) * 4
    return PropertySummary(
        total=len(values),
        infinite=len(values) - len(finite),
        mean=mean,
        deviation=deviation,
        low=low,
        high=high,
        quantiles={f"{level:g}": float(np.quantile(finite, level)) for level in QUANTILES if len(finite)},
        options=dict(options or {}),
    )


def _properties(model: nn.Module, suite: AdversarialSuite) -> dict[str, Compute]:
    spec = suite.properties
    if spec is None:
        return {}
    by_name: dict[str, Compute] = {}
    if spec.decision_margin:
        by_name["decision_margin"] = lambda images, labels, *_: decision_margin(model, images, labels)
    for name, thickness in _thicknesses(spec.boundary_thickness).items():
        by_name[name] = _thickness(model, suite, thickness)
    if spec.model_smoothness is not None:
        by_name["model_smoothness"] = _smoothness(model, property_attacks(suite)["model_smoothness"].create())
    if spec.gradient_norm:
        for norm in ORDERS:
            by_name[f"gradient_norm_{norm}"] = _gradient_norm(model, norm)
    if (distance := spec.boundary_distance) is not None:
        by_name["boundary_distance"] = lambda images, labels, *_: boundary_distance(
            model, images, labels, queries=distance.queries
        )
    return by_name


def _thicknesses(spec: BoundaryThickness | None) -> dict[str, BoundaryThickness]:
    """Return the options of each thickness by the name of its property."""
    if spec is None:
        return {}
    if spec.against != "both":
        return {"boundary_thickness": spec}
    return {
        "boundary_thickness": spec.model_copy(update={"against": "target"}),
        "boundary_thickness_predicted": spec.model_copy(update={"against": "predicted"}),
    }


def _thickness(model: nn.Module, suite: AdversarialSuite, spec: BoundaryThickness) -> Compute:
    if spec.space == "normalised":
        # Check this now, not after hours of attacks.
        try:
            model_std(model)
        except UserError as error:
            raise UserError(f"suite: properties.boundary_thickness: {error}") from None
    return lambda images, labels, indices, _: boundary_thickness(
        model, images, labels, spec=spec, threat=suite.threat, indices=indices, seed=suite.seed
    )


def _smoothness(model: nn.Module, attack: Attack) -> Compute:
    return lambda images, labels, indices, batch_size: model_smoothness(
        model, images, attack(model, images, labels, indices=indices, batch_size=batch_size)
    )


def _gradient_norm(model: nn.Module, norm: str) -> Compute:
    return lambda images, labels, *_: gradient_norm(model, images, labels, norm)


def _mini_batches(
    engine: Engine, model: EvaluatedModel, suite: AdversarialSuite, spec: BatchNormSpec
) -> Iterator[MiniBatch]:
    """Yield the statistics of each mini-batch, clean ones first; in a mixture each view in its own branch."""
    views = BRANCHES if spec.attack is not None else BRANCHES[:1]
    for view in views:
        for number, rows in enumerate(_random_batches(len(engine.sample), suite.seed, spec)):
            with model.on(view):
                images = _images(engine, model, suite, rows, view).to(engine.device)
                yield MiniBatch(f"{view}-{number}", batch_statistics(model.network, images))


def _random_batches(total: int, seed: int, spec: BatchNormSpec) -> Iterator[Rows]:
    """Yield rows of the sample drawn at random, none twice; fewer mini-batches where there are too few images."""
    order = np.random.default_rng(seed).permutation(total)
    size = min(spec.batch_size, total)
    for number in range(min(spec.mini_batches, total // size) if size > 1 else 0):
        yield np.sort(order[number * size : (number + 1) * size])


def _images(engine: Engine, model: EvaluatedModel, suite: AdversarialSuite, rows: Rows, view: Branch) -> Tensor:
    if view == "clean":
        return engine.sample.read(rows)
    condition = property_attacks(suite)["batch_norm"]
    return model.adversarial(condition, engine.sample, rows, engine.within_memory(engine.batch_size))
