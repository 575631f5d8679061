"""Intervals and paired tests for accuracies, and bins of confidence."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
"""[N], whether a model is right on each image."""


# Ours and not scipy.stats.binomtest: importing scipy.stats takes a second or two at each start of a command, and its
# intervals differ in the last bit for more than half of all counts (by up to 4e-16), so that files with equal counts
# would no longer have equal bytes.
def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval for `correct` successes in `total` trials.

    Raises:
        ValueError: `total` is not positive, `correct` is not in [0, total] or `confidence` is not in (0, 1).
    """
    if total <= 0 or not 0 <= correct <= total:
        raise ValueError(f"an interval needs 0 <= correct <= total and total > 0, got {correct} of {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"an interval needs a confidence between 0 and 1, such as 0.95, got {confidence}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == total else min(1.0, centre + half)
    return low, high


def paired_comparison(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
    """Compare two classifiers on the same images by the exact McNemar test.

    Args:
        first: [N] whether the first classifier is right on each image.
        second: [N] the same for the second.

    Returns:
        ``only_first`` and ``only_second`` (images that one alone gets right), ``difference`` (accuracy of the first
        minus that of the second) and the two-sided ``p_value``.

    Raises:
        ValueError: the two arrays have different lengths or none.
    """
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"a paired test needs the same images for both, got {first.shape} and {second.shape} flags")
    from scipy.special import bdtr

    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(second & ~first))
    discordant = only_first + only_second
    fewer = min(only_first, only_second)
    # The two tails of the binomial distribution at 1/2 are equal, so that twice the lower one is the two-sided test.
    p_value = min(1.0, 2 * float(bdtr(fewer, discordant, 0.5)))
    difference = (only_first - only_second) / first.size
    return {"only_first": only_first, "only_second": only_second, "difference": difference, "p_value": p_value}


def mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (ddof = 1; None for a single value).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), deviation


def mean_interval(
    values: NDArray[np.float64], confidence: float = 0.95
) -> tuple[float, float | None, float | None, float | None]:
    """Return mean, sample standard deviation (ddof = 1) and Student's interval of the mean; None for a single value.

    Args:
        values: [N], finite, N at least 1, such as a property of each image.

    Raises:
        ValueError: there are no values.
    """
    from scipy.special import stdtrit

    mean, deviation = mean_and_deviation(values.tolist())
    if deviation is None:
        return mean, None, None, None
    half = float(stdtrit(len(values) - 1, 0.5 + confidence / 2)) * deviation / math.sqrt(len(values))
    return mean, deviation, mean - half, mean + half


def paired_interval(first: Flags, second: Flags, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies on the same images (Newcombe 1998, method 10).

    It is made of both Wilson intervals and the correlation of the flags, so that it has a width on few images even
    where the two classifiers agree on all of them.

    Args:
        first: [N] whether the first classifier is right on each image; its accuracy minus the second's is estimated.
        second: [N] the same for the second.

    Returns:
        Lower and upper end, in [-1, 1].

    Raises:
        ValueError: the two arrays have different lengths or none.
    """
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"a paired interval needs the same images for both, got {first.shape} and {second.shape}")
    total = first.size
    counts = int(first.sum()), int(second.sum())
    shares = [count / total for count in counts]
    (low_1, high_1), (low_2, high_2) = (wilson_interval(count, total, confidence) for count in counts)
    difference = (counts[0] - counts[1]) / total
    correlation = _correlation(first, second)
    below = (shares[0] - low_1, high_2 - shares[1])
    above = (high_1 - shares[0], shares[1] - low_2)
    down, up = (math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2)) for one, other in (below, above))
    return max(-1.0, difference - down), min(1.0, difference + up)


def unpaired_interval(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies on different images (Newcombe 1998, method 10 for
    independent samples, which is made of both Wilson intervals).

    Args:
        first: how many images are right, and of how many; its accuracy minus the second's is estimated.
        second: the same for the second.

    Returns:
        Lower and upper end, in [-1, 1].

    Raises:
        ValueError: as :func:`wilson_interval`.
    """
    shares = [correct / total for correct, total in (first, second)]
    (low_1, high_1), (low_2, high_2) = (wilson_interval(*counts, confidence) for counts in (first, second))
    low, high = difference_interval((shares[0], low_1, high_1), (shares[1], low_2, high_2))
    return max(-1.0, low), min(1.0, high)


def difference_interval(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of the difference of two independent numbers, the first less the second, from their own
    intervals (square-and-add, Zou & Donner 2008).

    Args:
        first: value, lower and upper end.
        second: the same.
    """
    (value_1, low_1, high_1), (value_2, low_2, high_2) = first, second
    difference = value_1 - value_2
    down, up = math.hypot(value_1 - low_1, high_2 - value_2), math.hypot(high_1 - value_1, value_2 - low_2)
    return difference - down, difference + up


def difference_of_means(first: Sequence[float], second: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the difference of two means over independent trainings, the first less the second.

    Args:
        first: a value for each training, at least one.
        second: the same; there may be more or fewer.

    Returns:
        The difference; the standard deviation of a difference of two trainings, the root of the summed sample
        variances (ddof = 1); and the standard error of the difference of the means (Welch 1947). The latter two are
        None where either has a single training.

    Raises:
        ValueError: either is empty.
    """
    (mean_1, deviation_1), (mean_2, deviation_2) = mean_and_deviation(list(first)), mean_and_deviation(list(second))
    if deviation_1 is None or deviation_2 is None:
        return mean_1 - mean_2, None, None
    error = math.hypot(deviation_1 / math.sqrt(len(first)), deviation_2 / math.sqrt(len(second)))
    return mean_1 - mean_2, math.hypot(deviation_1, deviation_2), error


def ratio_interval(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Return the interval of the ratio of two independent numbers, the first over the second, from their own intervals:
    that of the difference of their logarithms (Zou & Donner 2008).

    Args:
        first: value, lower and upper end, all above 0.
        second: the same.
    """
    logarithms = [(math.log(value), math.log(low), math.log(high)) for value, low, high in (first, second)]
    low, high = difference_interval(logarithms[0], logarithms[1])
    return math.exp(low), math.exp(high)


def ratio_of_means(first: Sequence[float], second: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the ratio of two means over independent trainings, the first over the second, both above 0.

    Args, returns and errors are those of :func:`difference_of_means`; deviation and error are to first order, from the
    relative ones of both means.
    """
    (mean_1, deviation_1), (mean_2, deviation_2) = mean_and_deviation(list(first)), mean_and_deviation(list(second))
    ratio = mean_1 / mean_2
    if deviation_1 is None or deviation_2 is None:
        return ratio, None, None
    relative = deviation_1 / mean_1, deviation_2 / mean_2
    error = math.hypot(relative[0] / math.sqrt(len(first)), relative[1] / math.sqrt(len(second)))
    return ratio, ratio * math.hypot(*relative), ratio * error


def paired_mean_comparison(
    first: NDArray[np.float64], second: NDArray[np.float64], confidence: float = 0.95
) -> dict[str, float]:
    """Compare two classifiers on several versions of the same images, by Student's paired test over images.

    The versions of an image are no independent answers: each image counts once, with the share of its versions that a
    classifier gets right.

    Args:
        first: [N] that share for the first classifier, in [0, 1].
        second: [N] the same for the second.

    Returns:
        ``difference`` (mean of the first minus that of the second), ``low`` and ``high`` of its interval, in [-1, 1],
        and the two-sided ``p_value``. It is at least 2^(1 - N), as with the exact test of all exchanges of the two,
        so that few images on which all differences are equal prove nothing.

    Raises:
        ValueError: the two arrays have different lengths or none.
    """
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"a paired test needs the same images for both, got {first.shape} and {second.shape} shares")
    from scipy.special import stdtr, stdtrit

    differences, images = first - second, first.size
    mean, least = float(differences.mean()), 2.0 ** (1 - images)
    if images == 1:
        return {"difference": mean, "low": -1.0, "high": 1.0, "p_value": 1.0}
    error = float(differences.std(ddof=1)) / math.sqrt(images)
    half = float(stdtrit(images - 1, 0.5 + confidence / 2)) * error
    p_value = 2 * float(stdtr(images - 1, -abs(mean) / error)) if error else float(mean == 0)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return {"difference": mean, "low": low, "high": high, "p_value": min(1.0, max(p_value, least))}


def _correlation(first: Flags, second: Flags) -> float:
    """Return the correlation of two arrays of flags; 0 where one of them is constant. A positive one is corrected for
    continuity, as Newcombe has it."""
    both, neither = int(np.sum(first & second)), int(np.sum(~first & ~second))
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    determinant = float(both * neither - only_first * only_second)
    if determinant > 0:
        determinant = max(determinant - first.size / 2, 0.0)
    return determinant / math.sqrt(margins)


BINS = 15  # of confidence, in a reliability diagram


def confidence_bins(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return in which of 15 equally wide bins of [0, 1] each confidence lies, from 0."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    images: int,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic over images (Efron 1979), the same at each call.

    Args:
        statistic: from rows of images [M, N] to M values.
        images: their number N, at least 1.
    """
    generator = np.random.default_rng(0)
    # Few at once, so that a large test split fits into memory.
    most = max(1, 2_000_000 // images)
    values = np.concatenate(
        [
            statistic(generator.integers(0, images, (min(most, resamples - start), images)))
            for start in range(0, resamples, most)
        ]
    )
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
