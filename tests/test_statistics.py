"""Intervals and paired tests against numbers worked out another way."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.statistics import (
    bootstrap_interval,
    difference_interval,
    difference_of_means,
    mean_and_deviation,
    paired_comparison,
    paired_interval,
    paired_mean_comparison,
    unpaired_interval,
    wilson_interval,
)

Z95 = 1.959963984540054  # 97.5 % point of the normal distribution
counts = st.integers(1, 60_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
quick = settings(deadline=None)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),
        (1, 10, 0.01788, 0.40415),
        (90, 1000, 0.07381, 0.10930),
        (0, 1, 0.0, 0.79346),
        (81, 263, 0.25529, 0.36621),  # Newcombe 1998, Table I: 0.2553 to 0.3662
        (15, 148, 0.06242, 0.16050),  # the same: 0.0624 to 0.1605
        (0, 20, 0.0, 0.16113),  # the same: 0 to 0.1611
        (1, 29, 0.00611, 0.17177),  # the same: 0.0061 to 0.1718
    ],
)
def test_the_wilson_interval_has_its_known_values(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@quick
@given(counts)
def test_the_ends_solve_the_equation_that_defines_the_interval(pair: tuple[int, int]) -> None:
    """Wilson 1927: the ends are the p at which the observed share lies z standard errors of p away."""
    correct, total = pair
    share = correct / total
    low, high = wilson_interval(correct, total)
    quadratic = [1 + Z95**2 / total, -(2 * share + Z95**2 / total), share**2]
    assert sorted(np.roots(quadratic).real) == pytest.approx([low, high], abs=1e-6)
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / total), rel=1e-6, abs=1e-12)


@quick
@given(counts, st.floats(0.5, 0.9999))
def test_the_interval_holds_the_share_and_stays_in_range(pair: tuple[int, int], confidence: float) -> None:
    correct, total = pair
    low, high = wilson_interval(correct, total, confidence)
    assert 0 <= low <= correct / total <= high <= 1
    assert low < high
    assert (low == 0) == (correct == 0)
    assert (high == 1) == (correct == total)


@quick
@given(counts)
def test_the_interval_of_the_wrong_ones_is_the_mirror_image(pair: tuple[int, int]) -> None:
    correct, total = pair
    low, high = wilson_interval(correct, total)
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@quick
@given(counts.filter(lambda pair: pair[0] < pair[1]))
def test_one_more_correct_moves_both_ends_up(pair: tuple[int, int]) -> None:
    correct, total = pair
    below, above = wilson_interval(correct, total), wilson_interval(correct + 1, total)
    assert below[0] < above[0]
    assert below[1] < above[1]


@quick
@given(counts, st.integers(2, 10))
def test_more_images_or_less_confidence_make_it_narrower(pair: tuple[int, int], factor: int) -> None:
    def width(correct: int, total: int, confidence: float = 0.95) -> float:
        low, high = wilson_interval(correct, total, confidence)
        return high - low

    correct, total = pair
    assert width(correct * factor, total * factor) < width(correct, total)
    assert width(correct, total, 0.8) < width(correct, total) < width(correct, total, 0.99)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    from scipy.stats import binom

    for total, truth in ((50, 0.09), (200, 0.5), (500, 0.02)):
        covered = [low <= truth <= high for low, high in (wilson_interval(k, total) for k in range(total + 1))]
        coverage = float(binom.pmf(np.arange(total + 1), total, truth) @ np.array(covered))
        assert 0.92 < coverage < 0.98


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (0, 0), (0, -1), (-1, 10), (11, 10), (float("nan"), 10)])
def test_counts_that_cannot_be_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= total"):
        wilson_interval(correct, total)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, float("nan")])
def test_a_confidence_that_cannot_be_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson_interval(5, 10, confidence)


def flags(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    order = np.random.default_rng(0).permutation(len(first))
    return first[order], second[order]


def exact_p(only_first: int, only_second: int) -> float:
    """Two-sided sign test in whole numbers: twice the smaller tail, at most 1."""
    n, k = only_first + only_second, min(only_first, only_second)
    return float(min(Fraction(1), 2 * Fraction(sum(math.comb(n, i) for i in range(k + 1)), 2**n)))


@quick
@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40), st.integers(0, 30))
def test_the_p_value_is_that_of_the_sign_test_worked_out_in_whole_numbers(
    both: int, only_first: int, only_second: int, neither: int
) -> None:
    total = both + only_first + only_second + neither
    if total == 0:
        return
    result = paired_comparison(*flags(both, only_first, only_second, neither))
    assert (result["only_first"], result["only_second"]) == (only_first, only_second)
    assert result["difference"] == pytest.approx((only_first - only_second) / total)
    assert result["p_value"] == pytest.approx(exact_p(only_first, only_second), rel=1e-9)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 5, 2 / 2**5), (10, 0, 2 / 2**10), (1, 5, 14 / 64), (3, 3, 1.0), (2, 8, 112 / 1024)],
)
def test_small_counts_have_the_p_value_of_the_closed_form(only_first: int, only_second: int, p_value: float) -> None:
    assert paired_comparison(*flags(4, only_first, only_second, 3))["p_value"] == pytest.approx(p_value)


def test_the_p_value_agrees_with_scipy_on_many_images() -> None:
    from scipy.stats import binomtest

    result = paired_comparison(*flags(3000, 420, 350, 1230))
    assert result["p_value"] == pytest.approx(binomtest(350, 770, 0.5).pvalue)
    assert 0.01 < result["p_value"] < 0.02


@quick
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_exchanging_the_two_turns_the_difference_and_keeps_the_p_value(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs).T
    there, back = paired_comparison(first, second), paired_comparison(second, first)
    assert there["p_value"] == pytest.approx(back["p_value"])
    assert there["difference"] == -back["difference"] == pytest.approx(first.mean() - second.mean())
    assert 0 < there["p_value"] <= 1
    json.dumps(there)


def test_images_that_both_get_right_or_wrong_do_not_matter() -> None:
    few, many = paired_comparison(*flags(0, 3, 9, 0)), paired_comparison(*flags(500, 3, 9, 800))
    assert few["p_value"] == many["p_value"]


@pytest.mark.parametrize(("first", "second"), [([True], [True, False]), ([], []), ([True, False], [True])])
def test_flags_of_different_images_are_refused(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(ValueError, match="the same images for both"):
        paired_comparison(np.array(first, dtype=bool), np.array(second, dtype=bool))


def test_the_deviation_is_that_of_a_sample() -> None:
    mean, deviation = mean_and_deviation([1.0, 2.0, 4.0])
    assert (mean, deviation) == pytest.approx((7 / 3, math.sqrt(7 / 3)))


def test_a_single_seed_has_a_mean_and_no_deviation() -> None:
    assert mean_and_deviation([0.25]) == (0.25, None)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_and_deviation([])


def pairs(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Flags of two classifiers, of which so many images are right with both, with one alone, and with neither."""
    counts = (both, first, second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_the_paired_interval_has_its_published_value() -> None:
    """Newcombe 1998, improved intervals for the difference of paired proportions, Table II, method 10: 36, 12, 2, 0."""
    assert paired_interval(*pairs(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@quick
@given(st.tuples(*[st.integers(0, 400)] * 4).filter(any), st.floats(0.5, 0.999))
def test_the_paired_interval_holds_the_difference_and_turns_with_the_order(
    counts: tuple[int, int, int, int], confidence: float
) -> None:
    first, second = pairs(*counts)
    low, high = paired_interval(first, second, confidence)
    difference = first.mean() - second.mean()
    assert -1 <= low <= difference + 1e-12
    assert difference - 1e-12 <= high <= 1
    assert paired_interval(second, first, confidence) == pytest.approx((-high, -low), abs=1e-12)


def test_a_paired_interval_has_a_width_where_two_models_agree_on_few_images() -> None:
    low, high = paired_interval(*pairs(10, 0, 0, 0))
    assert low < -0.2 < 0.2 < high
    with pytest.raises(ValueError, match="same images"):
        paired_interval(np.ones(2, bool), np.ones(3, bool))


def test_the_bootstrap_interval_of_a_mean_is_near_that_of_the_normal_distribution_and_repeats_itself() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap_interval(lambda rows: values[rows].mean(-1), len(values))
    half = Z95 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.2 * half)
    assert bootstrap_interval(lambda rows: values[rows].mean(-1), len(values)) == (low, high)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17, 873-890), Table II, method 10
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((0, 10), (0, 20), -0.1611, 0.2775),
    ],
)
def test_the_interval_of_accuracies_on_different_images_is_newcombes(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    assert unpaired_interval(first, second) == pytest.approx((low, high), abs=1e-4)
    assert unpaired_interval(second, first) == pytest.approx((-high, -low), abs=1e-4)


def test_means_over_versions_are_compared_by_students_paired_test() -> None:
    from scipy.stats import ttest_rel

    generator = np.random.default_rng(0)
    first, second = generator.uniform(size=(2, 40))
    found, expected = paired_mean_comparison(first, second), ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert found["p_value"] == pytest.approx(expected.pvalue)
    assert found["difference"] == pytest.approx(float((first - second).mean()))
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("images", "p_value"), [(1, 1.0), (2, 0.5), (5, 2**-4)])
def test_equal_differences_on_few_images_prove_nothing(images: int, p_value: float) -> None:
    assert paired_mean_comparison(np.full(images, 0.75), np.full(images, 0.5))["p_value"] == p_value
    assert paired_mean_comparison(np.full(images, 0.5), np.full(images, 0.5))["p_value"] == 1.0
    with pytest.raises(ValueError, match="same images"):
        paired_mean_comparison(np.ones(2), np.ones(3))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([3.0, 5.0], [1.0], (3.0, None, None)),
        ([1.0, 3.0], [0.0, 0.0], (2.0, math.sqrt(2), 1.0)),
        # variances 4 and 9 of 3 and 2 trainings
        ([2.0, 4.0, 6.0], [0.0, math.sqrt(18)], (4 - math.sqrt(18) / 2, math.sqrt(13), math.sqrt(4 / 3 + 9 / 2))),
    ],
)
def test_a_difference_of_means_has_the_deviation_of_a_pair_and_welch_s_error(
    first: list[float], second: list[float], expected: tuple[float, float | None, float | None]
) -> None:
    assert difference_of_means(first, second) == pytest.approx(expected)


@given(counts, counts)
@quick
def test_the_interval_of_a_difference_of_any_two_numbers_is_newcombe_s_for_accuracies(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    ends = [(correct / total, *wilson_interval(correct, total)) for correct, total in (first, second)]
    assert difference_interval(*ends) == pytest.approx(unpaired_interval(first, second), abs=1e-12)
