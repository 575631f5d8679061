"""On which images a run was right: the flags that evaluations keep, for paired tests between recipes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config.corruption_families import averaged
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.results import AdversarialMetrics, CorruptionAccuracy, OodMetrics, Proportion
from nofrost.statistics import Flags

ImageIdentity = tuple[int | str, ...]
"""What tells images from others: their number and checksums."""


@dataclass(frozen=True)
class OodFlags:
    """How often a model was right on each image out of distribution.

    `by_set` has for each test set whether the model was right on each image (bool [N]), or for a set of corrupted
    images the share of the versions of an image that it was right on (float64 [N]), of those that the mean accuracy
    counts. Under None stands the latter for
    the corruptions of the suite, where it has any. `images` says which images these are.
    """

    by_set: Mapping[str | None, NDArray[Any]]
    images: Mapping[str | None, ImageIdentity]


def read_flags(path: Path, metrics: AdversarialMetrics) -> dict[str, Flags]:
    """Return for each condition whether the model was right on each test image: bool [N].

    Raises:
        UserError: the flags do not add up to the accuracies of `metrics`.
    """
    arrays = read_arrays(path)
    return {name: _flags(arrays, f"correct/{name}", accuracy, path) for name, accuracy in metrics.accuracy.items()}


def read_ood_flags(path: Path, metrics: OodMetrics) -> OodFlags:
    """Return the flags of an evaluation out of distribution; raises like :func:`read_flags`."""
    arrays = read_arrays(path)
    by_set: dict[str | None, NDArray[Any]] = {}
    images: dict[str | None, ImageIdentity] = {}
    for key, test_set in metrics.test_sets.items():
        by_set[key] = _flags(arrays, f"test-sets/{key}/correct", test_set, path)
        images[key] = (test_set.total, test_set.data_sha256, test_set.indices_sha256)
    corrupted: list[tuple[str | None, str, Mapping[str, CorruptionAccuracy], str]] = [
        (name, f"test-sets/{name}/correct", each.corruptions, each.data_sha256)
        for name, each in metrics.corrupted_sets.items()
    ]
    corrupted.append((None, "correct", metrics.corruptions, metrics.indices_sha256))
    for name, prefix, corruptions, checksum in corrupted:
        flags = [
            _flags(arrays, f"{prefix}/{corruption}/{point.severity}", point, path)
            for corruption in averaged(corruptions)
            for point in corruptions[corruption].severities
        ]
        # Files of different length hold versions of other images, and there is no mean for each image.
        if len({len(each) for each in flags}) == 1:
            by_set[name] = np.mean(flags, axis=0)
            images[name] = (len(flags[0]), checksum)
    return OodFlags(by_set, images)


def _flags(arrays: Mapping[str, NDArray[Any]], name: str, accuracy: Proportion, path: Path) -> Flags:
    flags = arrays.get(name)
    if flags is None or flags.dtype != np.bool_ or flags.shape != (accuracy.total,) or flags.sum() != accuracy.correct:
        raise UserError(
            f"{path}: {name} is not {accuracy.correct} of {accuracy.total} images as in metrics.json: evaluate this "
            "run again"
        )
    return flags
