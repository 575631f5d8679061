"""AUROC with DeLong's interval and the false positive rate against closed forms, brute force and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

from nofrost.measures import auroc, auroc_interval, false_positive_rate

quick = settings(deadline=None, max_examples=50)
# few levels, so that many scores are equal
scores = st.lists(st.integers(0, 6), min_size=2, max_size=40).map(lambda values: np.array(values, dtype=np.float64))


@quick
@given(scores, scores)
def test_the_area_is_the_share_of_pairs_in_the_right_order(positives: np.ndarray, negatives: np.ndarray) -> None:
    wins = (positives[:, None] > negatives).mean() + 0.5 * (positives[:, None] == negatives).mean()
    assert auroc(positives, negatives) == pytest.approx(wins)
    statistic = mannwhitneyu(positives, negatives, method="asymptotic").statistic
    assert auroc(positives, negatives) == pytest.approx(statistic / (len(positives) * len(negatives)))
    assert auroc(negatives, positives) == pytest.approx(1 - wins)


@quick
@given(scores, scores)
def test_the_interval_is_that_of_delongs_components(positives: np.ndarray, negatives: np.ndarray) -> None:
    kernel = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    variance = kernel.mean(1).var(ddof=1) / len(positives) + kernel.mean(0).var(ddof=1) / len(negatives)
    half = norm.ppf(0.975) * np.sqrt(variance)
    expected = max(0.0, kernel.mean() - half), min(1.0, kernel.mean() + half)
    assert auroc_interval(positives, negatives) == pytest.approx(expected, abs=1e-7)


def test_scores_of_two_normal_distributions_have_the_area_of_the_formula() -> None:
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(1, 1, 20_000), generator.normal(0, 2, 30_000)
    expected = norm.cdf(1 / np.sqrt(5))
    assert auroc(positives, negatives) == pytest.approx(expected, abs=0.01)
    low, high = auroc_interval(positives, negatives)
    assert low < expected < high
    assert high - low < 0.012


@pytest.mark.parametrize(
    ("positives", "negatives", "area", "rate"),
    [([2, 3], [0, 1], 1.0, 0.0), ([0, 1], [2, 3], 0.0, 1.0), ([1, 1], [1, 1, 1], 0.5, 1.0)],
)
def test_groups_apart_and_groups_alike(positives: list[int], negatives: list[int], area: float, rate: float) -> None:
    groups = np.array(positives, dtype=np.float64), np.array(negatives, dtype=np.float64)
    assert (auroc(*groups), false_positive_rate(*groups)) == (area, rate)


def test_the_threshold_lets_95_of_100_positives_through() -> None:
    positives, negatives = np.arange(100.0), np.array([4.0, 4.9, 5.0, 50.0])
    # 5 to 99 are 95 of them
    assert false_positive_rate(positives, negatives) == 0.5


def test_a_single_image_says_nothing_and_none_is_an_error() -> None:
    assert auroc_interval(np.ones(1), np.zeros(9)) == (0.0, 1.0)
    for groups in ((np.ones(0), np.ones(1)), (np.ones(1), np.ones(0))):
        with pytest.raises(ValueError, match="a ROC curve needs two groups"):
            auroc(*groups)
