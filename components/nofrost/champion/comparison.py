"""A challenger beside the champion, on the same images: what the gate compares, each with a test or an interval."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nofrost.champion.evaluations import OodResult
from nofrost.measures import Reliability
from nofrost.results import Comparison
from nofrost.statistics import Flags, bootstrap_interval, paired_comparison, paired_interval

# Fewest and most of a bootstrap.
_RESAMPLES = (1000, 20_000)


def compare_flags(challenger: Flags, champion: Flags, confidence: float) -> Comparison:
    """Compare two accuracies: the exact McNemar test, and Newcombe's interval of the difference.

    Args:
        challenger, champion: [N] whether each model is right on each of the same images.
        confidence: of the interval.
    """
    test = paired_comparison(challenger, champion)
    low, high = paired_interval(challenger, champion, confidence)
    return Comparison(
        challenger=float(challenger.mean()),
        champion=float(champion.mean()),
        difference=test["difference"],
        low=low,
        high=high,
        p_value=test["p_value"],
        images=len(challenger),
        confidence=confidence,
    )


def compare_ood(challenger: NDArray[np.float64], champion: NDArray[np.float64], confidence: float) -> Comparison:
    """Compare mean accuracies on corrupted images by bootstrap over images, which all corruptions share.

    Args:
        challenger, champion: [N], the share of corruptions and severities on which each model is right, by image.
        confidence: of the interval.
    """

    def mean(shares: NDArray[np.float64]) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
        return lambda rows: shares[rows].mean(-1)

    return _compare(mean(challenger), mean(champion), len(challenger), confidence)


def compare_calibration(challenger: OodResult, champion: OodResult, confidence: float) -> Comparison:
    """Compare expected calibration errors on clean images by bootstrap over images."""

    def error(model: OodResult) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
        reliability = Reliability(len(model.confidence))
        reliability.add(model.confidence, model.clean)
        return reliability.errors

    return _compare(error(challenger), error(champion), len(challenger.confidence), confidence)


def _unseen(images: int, confidence: float) -> float:
    """Return the share of images that may be otherwise although none of so many was (Clopper & Pearson 1934).

    A bootstrap of few images, on which both models agree, has no width, whatever they do on others.
    """
    return float(1 - ((1 - confidence) / 2) ** (1 / images))


def _compare(
    challenger: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    champion: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    images: int,
    confidence: float,
) -> Comparison:
    all_rows = np.arange(images)
    values = float(challenger(all_rows)), float(champion(all_rows))
    difference = values[0] - values[1]
    # Twenty resamples beyond each end, within a minute or so.
    resamples = min(max(_RESAMPLES[0], math.ceil(40 / (1 - confidence))), _RESAMPLES[1])
    low, high = bootstrap_interval(lambda rows: challenger(rows) - champion(rows), images, confidence, resamples)
    unseen = _unseen(images, confidence)
    return Comparison(
        challenger=values[0],
        champion=values[1],
        difference=difference,
        low=max(-1.0, min(low, difference - unseen)),
        high=min(1.0, max(high, difference + unseen)),
        p_value=None,
        images=images,
        confidence=confidence,
    )
