"""Statistics of pixels: mean and standard deviation of each channel, exact."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def histograms(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the histogram of the 256 levels in each channel of images uint8 [..., C]: int64 [C, 256]."""
    return np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])])


class PixelStatistics:
    """Mean and standard deviation of the pixels of each channel, independent of the order and size of the batches."""

    def __init__(self, channels: int) -> None:
        self.histograms = np.zeros((channels, 256), dtype=np.int64)

    def watch(self, batches: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Yield the batches uint8 [n, H, W, C] unchanged, and add them to the histograms."""
        for batch in batches:
            self.add(histograms(batch))
            yield batch

    def add(self, histograms: NDArray[np.int64]) -> None:
        """Add the :func:`histograms` of more images: int64 [C, 256]."""
        self.histograms += histograms

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and (population) standard deviation of each channel, in [0, 1]."""
        levels = np.arange(256) / 255
        shares = self.histograms / self.histograms.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = (shares * np.square(levels - mean[:, None])).sum(axis=1)
        return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
