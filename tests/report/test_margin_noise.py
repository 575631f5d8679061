"""The noise of a margin, beside closed forms and a bootstrap over images."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nofrost.report.margin_noise import half_width
from nofrost.report.measurement import Measured

NUMBERS = np.random.default_rng(0)


def measured(flags: np.ndarray, unit: float = 1.0) -> Measured:
    share = float(flags.mean())
    return Measured(share, (share - 0.1, share + 0.1), flags).times(unit)


def test_over_images_it_is_that_of_a_bootstrap_of_the_same_images() -> None:
    first = NUMBERS.random(400) < 0.7
    second = first & (NUMBERS.random(400) < 0.9)
    rows = NUMBERS.integers(0, 400, (4000, 400))
    spread = np.std(first[rows].mean(1) - second[rows].mean(1))
    half = half_width([(100.0, [measured(first)]), (-1.0, [measured(second, 100.0)])])
    assert half == pytest.approx(196 * spread, rel=0.05)


def test_over_seeds_it_is_students_interval_of_the_paired_differences() -> None:
    first, second = [Measured(value) for value in (5.0, 7.0, 6.5)], [Measured(value) for value in (4.0, 6.2, 5.0)]
    differences = [one.value - other.value for one, other in zip(first, second, strict=True)]
    low, high = stats.t.interval(0.95, 2, np.mean(differences), stats.sem(differences))
    assert half_width([(1.0, first), (-1.0, second)]) == pytest.approx((high - low) / 2)


def test_with_unlike_numbers_of_trainings_each_has_its_own() -> None:
    first, second = [Measured(value) for value in (5.0, 7.0, 6.5)], [Measured(4.0)]
    alone = half_width([(2.0, first)])
    assert half_width([(2.0, first), (-1.0, second)]) == pytest.approx(alone)


def test_without_flags_intervals_are_squared_and_added() -> None:
    terms = [(2.0, [Measured(1.0, (0.9, 1.1))]), (-1.0, [Measured(3.0, (2.7, 3.3))])]
    assert half_width(terms) == pytest.approx(math.hypot(0.2, 0.3))
    assert half_width([]) == 0
