"""A property of all images in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.statistics import mean_interval

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return mean, sample standard deviation (ddof = 1), the mean's 95 % interval and quantiles over N images.

    Args:
        values: [N]. Infinite ones, such as the distance to a boundary that was not found, are counted and left out of
            everything else.

    Returns:
        ``total`` N; ``infinite``, how many of them were left out; ``mean``, ``deviation``, ``low`` and ``high`` of the
        interval (None where too few values are left); ``quantiles`` by their level.
    """
    finite = values[np.isfinite(values)]
    counts = {"total": len(values), "infinite": len(values) - len(finite)}
    if not len(finite):
        return {**counts, "mean": None, "deviation": None, "low": None, "high": None, "quantiles": {}}
    mean, deviation, low, high = mean_interval(finite)
    levels = {f"{level:g}": float(np.quantile(finite, level)) for level in QUANTILES}
    return {**counts, "mean": mean, "deviation": deviation, "low": low, "high": high, "quantiles": levels}
