"""Which properties a suite measures is written as true, as options, or left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nofrost.config import load_suite
from nofrost.config.properties import BoundaryThickness, PropertiesSpec
from nofrost.errors import UserError


def spec(**values: Any) -> PropertiesSpec:
    return PropertiesSpec.model_validate(values)


def test_true_means_the_defaults_and_false_or_null_nothing() -> None:
    for name in ("boundary_thickness", "model_smoothness", "boundary_distance", "batch_norm"):
        assert getattr(spec(**{name: True}), name) == getattr(spec(**{name: {}}), name)
        assert getattr(spec(**{name: True}), name) is not None
        assert getattr(spec(**{name: False}), name) is None
        assert getattr(spec(**{name: None}), name) is None
    for name in ("decision_margin", "gradient_norm", "weight_norms"):
        assert getattr(spec(**{name: True}), name) is True
        assert getattr(spec(**{name: None}), name) is False


def test_a_property_is_written_as_it_was_read() -> None:
    given = spec(decision_margin=True, boundary_thickness={"eps": "8/255", "step_size": "1/255"}, batch_norm=True)
    assert given.as_json()["boundary_thickness"]["eps"] == "8/255"
    assert PropertiesSpec.model_validate(given.as_json()) == given


def test_the_defaults_are_those_of_the_reference_code() -> None:
    found = BoundaryThickness()
    assert (float(found.eps or 0), found.steps, found.points, found.alpha, found.beta) == (5, 20, 128, 0, 0.75)
    assert (found.space, found.against) == ("normalised", "target")


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ("{margin: true}", "unknown key 'properties.margin'"),
        ("{boundary_thickness: {epsilon: 5}}", "did you mean 'eps'?"),
        ("{boundary_thickness: {eps: 0}}", "eps is 0"),
        ("{boundary_thickness: {step_size: 0}}", "step_size is 0"),
        ("{boundary_thickness: {alpha: 0.8}}", "alpha 0.8 is not below beta 0.75"),
        ("{boundary_thickness: {space: pixels}}", "'pixel' or 'normalised'"),
        ("{boundary_thickness: 5}", "properties.boundary_thickness"),
        ("{batch_norm: {mini_batches: true}}", "true is not a number"),
        ("{batch_norm: {batch_size: 1}}", "greater than or equal to 2"),
        ("{decision_margin: perhaps}", "properties.decision_margin"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, properties: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: adversarial-quick\nproperties: {properties}\n")
    with pytest.raises(UserError) as caught:
        load_suite(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
