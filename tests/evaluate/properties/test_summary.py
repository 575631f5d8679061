"""The summary of a property is computed over all finite values, and says how many were not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nofrost.evaluate.properties import summary


def test_the_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(3, 2, 12)
    found = summary(values).as_json()
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["deviation"] == pytest.approx(values.std(ddof=1))
    assert found["quantiles"]["0.5"] == pytest.approx(np.median(values))
    assert list(found["quantiles"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]


def test_infinite_values_are_counted_and_left_out() -> None:
    found = summary(np.array([1.0, 2.0, math.inf, 3.0])).as_json()
    assert (found["total"], found["infinite"], found["mean"]) == (4, 1, 2.0)


@pytest.mark.parametrize("values", [[math.inf], [math.inf, -math.inf]])
def test_without_a_finite_value_there_is_no_mean(values: list[float]) -> None:
    found = summary(np.array(values)).as_json()
    assert (found["total"], found["mean"], found["low"], found["quantiles"]) == (len(values), None, None, {})


def test_a_single_value_has_a_mean_and_no_interval() -> None:
    found = summary(np.array([0.25])).as_json()
    assert (found["mean"], found["deviation"], found["low"]) == (0.25, None, None)
