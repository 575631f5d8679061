"""The arrays that other stages left in a run's folder, read without executing anything."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.results import AdversarialMetrics


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file; pickled arrays are refused.

    Raises:
        UserError: the file is missing, cut off or not a set of arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: make it again with the stage that wrote it") from None
    except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}): make it again with the stage that wrote it") from None


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
