"""How well a score tells two groups of images apart: the area under the ROC curve, and the false positive rate."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def auroc(positives: Scores, negatives: Scores) -> float:
    """Return the area under the ROC curve in [0, 1]: how often a positive scores above a negative, ties counting half.

    Args:
        positives: [M] scores of the images that should score high, such as clean test images; M at least 1.
        negatives: [N] scores of the others, such as outliers; N at least 1.

    Raises:
        ValueError: one of the groups is empty.
    """
    return float(_placements(positives, negatives).mean())


def auroc_interval(positives: Scores, negatives: Scores, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of :func:`auroc` by the variance of DeLong et al. (1988), in O((M + N) log(M + N)).

    It has no width where the groups are apart altogether, and is all of [0, 1] where one of them is a single image.

    Raises:
        ValueError: one of the groups is empty.
    """
    above = _placements(positives, negatives)
    below = 1 - _placements(negatives, positives)
    if min(len(above), len(below)) < 2:
        return 0.0, 1.0
    deviation = np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * float(deviation)
    area = float(above.mean())
    return max(0.0, area - half), min(1.0, area + half)


def false_positive_rate(positives: Scores, negatives: Scores) -> float:
    """Return the share of negatives, in [0, 1], that reach the highest threshold which 95 % of the positives reach.

    Raises:
        ValueError: one of the groups is empty.
    """
    _check(positives, negatives)
    place = len(positives) // 20  # at most a twentieth lies below
    threshold = np.partition(positives, place)[place]
    return float((negatives >= threshold).mean())


def _placements(scores: Scores, others: Scores) -> NDArray[np.float64]:
    """Return for each score the share of `others` below it, equal ones counting half."""
    _check(scores, others)
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    shares: NDArray[np.float64] = (below + not_above) / (2 * len(ordered))
    return shares


def _check(*groups: Scores) -> None:
    if not all(len(group) for group in groups):
        raise ValueError(
            f"a ROC curve needs two groups, got {' and '.join(str(len(group)) for group in groups)} scores"
        )
