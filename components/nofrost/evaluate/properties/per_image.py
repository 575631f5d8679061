"""The properties of each image that a suite asks for: measured batch by batch, and in a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.config import AdversarialSuite
from nofrost.config.base import Schema
from nofrost.config.properties import BoundaryThickness
from nofrost.errors import UserError
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.plan import property_attacks
from nofrost.evaluate.properties.distance import boundary_distance
from nofrost.evaluate.properties.gradient import ORDERS, gradient_norm
from nofrost.evaluate.properties.margin import decision_margin
from nofrost.evaluate.properties.smoothness import model_smoothness
from nofrost.evaluate.properties.summary import summary
from nofrost.evaluate.properties.thickness import boundary_thickness, own_std

Property = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images [n, C, H, W], labels [n] and indices [n] to the values [n]."""


def property_tasks(measurement: Measurement, suite: AdversarialSuite) -> dict[str, Callable[[], NDArray[Any]]]:
    """Return every property of each image that the suite asks for: by the name it is stored under, how to measure it.

    A mixture-BN model is measured as it is deployed.

    Raises:
        UserError: an attack cannot be created, or the model does not fit a property; the sentence names the key.
    """
    return {
        f"property-{name}": partial(
            measurement.per_image, f"property-{name}", compute, dtype=np.float64, title=name.replace("_", " ")
        )
        for name, compute in _properties(measurement.model, suite).items()
    }


def measured_properties(tasks: Mapping[str, Callable[[], NDArray[Any]]]) -> dict[str, NDArray[np.float64]]:
    """Return what :func:`property_tasks` measure by name, float64 [N]; call inside ``measurement.ready()``."""
    return {name.removeprefix("property-"): task() for name, task in tasks.items()}


def summaries(properties: dict[str, NDArray[np.float64]], suite: AdversarialSuite) -> dict[str, Any]:
    """Return what ``metrics.json`` holds of the properties of each image: their summary, and how they were measured."""
    found = {}
    for name, values in properties.items():
        options = getattr(suite.properties, name, None)
        found[name] = {**summary(values), "options": options.as_json() if isinstance(options, Schema) else {}}
    return found


def _properties(model: nn.Module, suite: AdversarialSuite) -> dict[str, Property]:
    spec = suite.properties
    if spec is None:
        return {}
    found: dict[str, Property] = {}
    if spec.decision_margin:
        found["decision_margin"] = lambda images, labels, _: decision_margin(model, images, labels)
    if spec.boundary_thickness is not None:
        found["boundary_thickness"] = _thickness(model, suite, spec.boundary_thickness)
    if spec.model_smoothness is not None:
        found["model_smoothness"] = _smoothness(model, property_attacks(suite)["model_smoothness"].create())
    if spec.gradient_norm:
        for norm in ORDERS:
            found[f"gradient_norm_{norm}"] = _gradient_norm(model, norm)
    if (distance := spec.boundary_distance) is not None:
        found["boundary_distance"] = lambda images, labels, _: boundary_distance(
            model, images, labels, queries=distance.queries
        )
    return found


def _thickness(model: nn.Module, suite: AdversarialSuite, spec: BoundaryThickness) -> Property:
    if spec.space == "normalised":
        try:
            own_std(model)
        except UserError as error:  # now, not after hours of attacks
            raise UserError(f"suite key properties.boundary_thickness: {error}") from None
    return lambda images, labels, indices: boundary_thickness(
        model, images, labels, spec=spec, threat=suite.threat, indices=indices, seed=suite.seed
    )


def _smoothness(model: nn.Module, attack: Attack) -> Property:
    return lambda images, labels, indices: model_smoothness(
        model, images, attack(model, images, labels, indices=indices)
    )


def _gradient_norm(model: nn.Module, norm: str) -> Property:
    return lambda images, labels, _: gradient_norm(model, images, labels, norm)
