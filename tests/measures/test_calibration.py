"""Expected calibration error and its interval against plain loops, closed forms and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.measures import Reliability

quick = settings(deadline=None, max_examples=25)


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    found = Reliability(len(right))
    found.add(confidence, right)
    return found


@pytest.mark.parametrize(
    ("confidence", "accuracy", "error"), [(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.7, 0.5, 0.2), (0.5, 0.9, 0.4)]
)
def test_answers_of_one_confidence_are_off_by_its_distance_to_accuracy(
    confidence: float, accuracy: float, error: float
) -> None:
    found = reliability(np.full(10, confidence), np.arange(10) < round(10 * accuracy))
    assert found.error == pytest.approx(error)
    assert list(found.bins()) == [(10, pytest.approx(confidence), pytest.approx(accuracy))]


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_the_error_is_that_of_a_plain_loop_and_the_bins_hold_all_images(seed: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    confidence, right = generator.uniform(size=images), generator.uniform(size=images) < 0.6
    found = reliability(confidence, right)
    loop = 0.0
    for place in range(15):
        last = place == 14
        inside = (confidence >= place / 15) & ((confidence < (place + 1) / 15) | last)
        if inside.any():
            loop += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert found.error == pytest.approx(loop)
    rows = generator.integers(0, images, (3, images))
    expected = [reliability(confidence[each], right[each]).error for each in rows]
    assert found.errors(rows) == pytest.approx(expected, abs=1e-12)
    assert sum(count for count, _, _ in found.bins()) == images
    low, high = found.interval()
    assert 0 <= low <= found.error <= high <= 1


def test_versions_of_the_same_images_are_one_set_of_answers() -> None:
    generator = np.random.default_rng(0)
    confidence, right = generator.uniform(size=(4, 50)), generator.uniform(size=(4, 50)) < 0.5
    together = Reliability(50)
    for row in range(4):
        together.add(confidence[row], right[row])
    assert together.error == pytest.approx(reliability(confidence.ravel(), right.ravel()).error)


def test_copies_of_the_same_images_do_not_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    confidence, right = generator.uniform(size=200), generator.uniform(size=200) < 0.5
    once, often = Reliability(200), Reliability(200)
    once.add(confidence, right)
    for _ in range(5):
        often.add(confidence, right)
    assert often.interval() == pytest.approx(once.interval())


def test_the_interval_holds_the_true_error_in_about_95_of_100_samples() -> None:
    generator, held, widths = np.random.default_rng(0), 0, []
    for _ in range(60):
        # overconfident by 0.1 everywhere, which is the true error
        confidence = generator.uniform(0.2, 1.0, size=400)
        low, high = reliability(confidence, generator.uniform(size=400) < confidence - 0.1).interval()
        held += low <= 0.1 <= high
        widths.append(high - low)
    assert held >= 53
    # 0.1 is the mean of 400 distances whose deviation is about 0.43, and 1.96 of the mean's lie on both sides
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.43 / 20, rel=0.3)


def test_a_model_that_is_calibrated_may_have_no_error() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.uniform(size=300)
    low, _ = reliability(confidence, generator.uniform(size=300) < confidence).interval()
    assert low == 0
