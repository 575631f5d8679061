"""How far a sum of measured numbers may be off: the noise of the margin by which a claim holds."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

import numpy as np
from numpy.typing import NDArray

from nofrost.report.measurement import Measured
from nofrost.statistics import mean_interval

NORMAL_95 = NormalDist().inv_cdf(0.975)
Term = tuple[float, Sequence[Measured]]
"""A factor, and the number that it multiplies as each training of a recipe measured it."""


def half_width(terms: Sequence[Term]) -> float:
    """Return half of the 95 % interval of a sum of terms, each the factor times the mean over trainings.

    It is made of two parts by square-and-add (Zou & Donner 2008): over trainings, and over the test images, which all
    trainings share, so that more of these do not make it smaller.
    """
    return math.hypot(_over_trainings(terms), NORMAL_95 * _error_over_images(terms))


def _over_trainings(terms: Sequence[Term]) -> float:
    """Return Student's half-width over trainings; 0 where there is one of each.

    Seed by seed where all recipes have as many: numbers of one training vary together.
    """
    counts = {len(measured) for _, measured in terms}
    if len(counts) == 1:
        return _student([sum(factor * each.value for factor, each in seed) for seed in _by_seed(terms)])
    return math.hypot(*(factor * _student([each.value for each in measured]) for factor, measured in terms))


def _by_seed(terms: Sequence[Term]) -> Sequence[Sequence[tuple[float, Measured]]]:
    return list(zip(*([(factor, each) for each in measured] for factor, measured in terms), strict=True))


def _student(values: Sequence[float]) -> float:
    *_, low, high = mean_interval(np.array(values, dtype=np.float64))
    return 0.0 if low is None or high is None else (high - low) / 2


def _error_over_images(terms: Sequence[Term]) -> float:
    """Return the standard error over images: image by image where all numbers are of the same images, and from their
    own intervals, as if they were independent, where they are not or are no shares of images."""
    images = [[each.images for each in measured if each.images is not None] for _, measured in terms]
    are_kept = [len(kept) == len(measured) for kept, (_, measured) in zip(images, terms, strict=True)]
    if not all(are_kept) or len({len(each) for kept in images for each in kept}) != 1:
        return math.hypot(*(factor * _mean_error(measured) for factor, measured in terms))
    units = [factor * measured[0].unit for factor, measured in terms]
    weighted = [unit * np.mean(kept, axis=0) for unit, kept in zip(units, images, strict=True)]
    of_image: NDArray[np.float64] = np.sum(weighted, axis=0)
    # As if one image more had changed its answer: that none did of a few hundred does not prove that none can.
    one_more = max(map(abs, units)) ** 2
    return math.sqrt(float(np.sum((of_image - of_image.mean()) ** 2)) + one_more) / len(of_image)


def _mean_error(measured: Sequence[Measured]) -> float:
    """Return the mean standard error over images of the trainings; 0 for what is no mean over images."""
    ends = [each.interval for each in measured if each.interval is not None]
    return fmean(high - low for low, high in ends) / (2 * NORMAL_95) if ends else 0.0
