"""Expected calibration error (Guo et al. 2017) with an interval, and the reliability diagram that it comes from."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nofrost.statistics import BINS, Flags, bootstrap_interval, confidence_bins


class Reliability:
    """Confidence beside accuracy on N images, by 15 bins of equal width of confidence.

    Answers are added set by set, so that those to many corrupted versions of the same images are never in memory at
    once; each version is an answer of its own, and the interval counts images.

    Args:
        images: their number N, at least 1.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._count = np.zeros(BINS, dtype=np.int64)
        self._confidence = np.zeros(BINS)
        self._right = np.zeros(BINS, dtype=np.int64)
        # Sum over the answers to an image of confidence minus right, by image and bin
        self._excess = np.zeros((images, BINS))

    def add(self, confidence: NDArray[np.float64], right: Flags) -> None:
        """Add one answer to each image.

        Args:
            confidence: [N] in [0, 1], the probability of the predicted class.
            right: [N] whether the prediction is right.
        """
        bins = confidence_bins(confidence)
        self._count += np.bincount(bins, minlength=BINS)
        self._confidence += np.bincount(bins, confidence, BINS)
        self._right += np.bincount(bins[right], minlength=BINS)
        self._excess[np.arange(self._images), bins] += confidence - right

    def bins(self) -> Iterator[tuple[int, float, float]]:
        """Yield number of answers, mean confidence and accuracy of each bin that is not empty."""
        for count, confidence, right in zip(self._count, self._confidence, self._right, strict=True):
            if count:
                yield int(count), float(confidence / count), float(right / count)

    @property
    def error(self) -> float:
        """Expected calibration error in [0, 1]: the distance of confidence and accuracy, weighted by answers."""
        return float(self.errors(np.arange(self._images)))

    def errors(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the errors [...] of the answers to resampled images, whose rows [..., N] are given."""
        drawn = rows.reshape(-1, self._images)
        places = drawn + self._images * np.arange(len(drawn))[:, None]
        times = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        # Not a product of matrices, whose last bits depend on the number of threads
        sums = np.einsum("mn,nb->mb", times, self._excess)
        distances: NDArray[np.float64] = np.abs(sums).sum(1) / self._count.sum()
        return distances.reshape(rows.shape[:-1])

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the error, in [0, 1]: basic bootstrap over images (Davison & Hinkley 1997, §5.2).

        Distances do not cancel, so the error of few images lies above that of many, and those of resamples above that
        of their images by as much: the ends are mirrored at the error, which takes this bias out.
        """
        low, high = bootstrap_interval(self.errors, self._images)
        error = self.error
        return min(error, max(0.0, 2 * error - high)), max(error, min(1.0, 2 * error - low))
