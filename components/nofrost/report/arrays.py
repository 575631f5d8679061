"""The arrays that other stages left in a run's folder, read without executing anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.results import AdversarialMetrics


def read_flags(path: Path, metrics: AdversarialMetrics) -> dict[str, NDArray[np.bool_]]:
    """Return for each condition whether each test image was right: bool [N].

    Raises:
        UserError: the flags do not add up to the accuracies of `metrics`.
    """
    flags = {}
    arrays = read_arrays(path)
    for condition, share in metrics.accuracy.items():
        flag = arrays.get(f"correct/{condition}")
        if flag is None or flag.dtype != np.bool_ or flag.shape != (share.total,) or flag.sum() != share.correct:
            raise UserError(
                f"{path}: correct/{condition} is not {share.correct} of {share.total} images as in metrics.json: "
                "evaluate this run again"
            )
        flags[condition] = flag
    return flags
