"""From the answers on images to what ``metrics.json`` says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import Baseline
from nofrost.config.corruption_families import averaged, set_apart
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.ood.answers import TOP, Answered, BriefAnswers
from nofrost.measures import Reliability, corruption_errors
from nofrost.results import (
    Calibration,
    CorruptionAccuracy,
    CorruptionError,
    MeanAccuracy,
    Proportion,
    ReliabilityBin,
    SeverityPoint,
    averaging_of,
)
from nofrost.statistics import Flags, wilson_interval

CorruptionSeverity = tuple[str, int]
"""The name of a corruption, and a severity."""
ByCorruption = Mapping[CorruptionSeverity, Measurement]
"""The measurement of the model's brief answers under each corruption and severity, on the same images."""


def is_right(classes: NDArray[np.int64], labels: NDArray[np.int64]) -> Flags:
    """Return whether one of the named classes is right, by image.

    Args:
        classes: [N, n], what was named for each image.
        labels: [N], or [N, K] with every class that is right for an image, padded with -1.
    """
    allowed = labels.reshape(len(labels), -1)
    # Named classes one after the other: all at once would take N · n · K values
    hits = [((named[:, None] == allowed) & (allowed >= 0)).any(1) for named in classes.T]
    right: Flags = np.logical_or.reduce(hits)
    return right


def answer_keys(answered: Answered, labels: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Return accuracy, top-5 accuracy and calibration, as keys of :class:`~nofrost.results.Answers`.

    Args:
        labels: as for :func:`is_right`.
        classes: how many the answer is among.
    """
    right = is_right(answered.classes[:, None], labels)
    top5 = Proportion.of_flags(is_right(answered.top5, labels)) if classes > TOP else None
    reliability = Reliability(len(right))
    reliability.add(answered.confidence, right)
    accuracy = Proportion.of_flags(right)
    return {**dict(accuracy), "top5": top5, "calibration": calibration_of(reliability)}


def calibration_of(reliability: Reliability) -> Calibration:
    """Return the calibration of all answers that were added."""
    low, high = reliability.interval()
    bins = tuple(
        ReliabilityBin(count=count, confidence=min(1.0, confidence), accuracy=accuracy)
        for count, confidence, accuracy in reliability.bins()
    )
    return Calibration(error=min(1.0, reliability.error), low=low, high=high, bins=bins)


def corrupted_answers(
    engine: Engine, measurements: ByCorruption
) -> tuple[dict[CorruptionSeverity, Flags], Calibration | None]:
    """Return whether the model is right [N] by corruption and severity, and the calibration of all these answers; None
    without any."""
    flags: dict[CorruptionSeverity, Flags] = {}
    reliability: Reliability | None = None
    for condition, measurement in measurements.items():
        answers = BriefAnswers(engine.values(measurement))
        flags[condition] = engine.right(measurement)
        reliability = reliability or Reliability(len(answers.confidence))
        reliability.add(answers.confidence, flags[condition])
    return flags, calibration_of(reliability) if reliability else None


def by_corruption(flags: Mapping[CorruptionSeverity, Flags]) -> dict[str, CorruptionAccuracy]:
    """Return the accuracy by corruption, of flags [N] for each corruption and severity on the same N images."""
    corruptions = {}
    for name in dict.fromkeys(name for name, _ in flags):
        by_severity = {severity: each for (corruption, severity), each in flags.items() if corruption == name}
        points = tuple(SeverityPoint.of_flags(each, severity=severity) for severity, each in by_severity.items())
        corruptions[name] = CorruptionAccuracy(severities=points, **dict(mean_of(list(by_severity.values()))))
    return corruptions


def corruption_means(flags: Mapping[CorruptionSeverity, Flags]) -> dict[str, Any]:
    """Return the mean accuracy over corruptions, what it is over, and the further means: keys of
    :class:`~nofrost.results.OodMetrics` and :class:`~nofrost.results.CorruptedSet`.

    Args:
        flags: [N] by corruption and severity, not empty.
    """
    names = list(dict.fromkeys(name for name, _ in flags))

    def mean(counted: Collection[str]) -> MeanAccuracy:
        return mean_of([each for (name, _), each in flags.items() if name in counted])

    further = {family: mean(members) for family, members in set_apart(names).items()}
    return {**dict(mean(averaged(names))), "averaging": averaging_of(names), "further_means": further}


def mean_of(flags: Sequence[Flags]) -> MeanAccuracy:
    """Return the mean accuracy over conditions and its 95 % interval.

    The conditions share their images, so the counts are not independent. The interval is Wilson's for as many
    independent images as would give the spread that is seen between images (the effective sample size, Kish 1965).
    """
    per_image = np.mean(flags, axis=0)
    mean = float(per_image.mean())
    spread = float(per_image.var(ddof=1)) if len(per_image) > 1 else 0.0
    independent = mean * (1 - mean) / spread * len(per_image) if spread else len(per_image)
    effective = round(min(independent, len(flags) * len(per_image)))
    low, high = wilson_interval(round(mean * effective), effective)
    return MeanAccuracy(mean_accuracy=mean, mean_low=low, mean_high=high)


def corruption_error(
    baseline: Baseline | None, clean: Proportion, corruptions: Mapping[str, CorruptionAccuracy]
) -> CorruptionError | None:
    """Return mCE and relative mCE; None without a baseline or corruptions."""
    if baseline is None or not corruptions:
        return None
    errors = {name: 1 - each.mean_accuracy for name, each in corruptions.items()}
    mce, relative = corruption_errors(1 - clean.accuracy, errors, baseline)
    return CorruptionError(mce=mce, relative_mce=relative, baseline=baseline)
