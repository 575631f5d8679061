"""What a run measured of a column of printed numbers: one value and its interval, or why there is none."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from numpy.typing import NDArray

from nofrost.config import PrintedColumn, PrintedRow
from nofrost.results import (
    AdversarialMetrics,
    CorruptionAccuracy,
    MeanAccuracy,
    OodMetrics,
    PropertySummary,
    Proportion,
    TrainMetrics,
)

Flags = Mapping[Any, NDArray[Any]]

CORRUPTIONS = "corruptions"
"""The condition of an ood suite that is its mean over corruptions."""


@dataclass(frozen=True)
class Measurements:
    """Everything that one run measured, its evaluations by the names of the study's suites.

    `adversarial_flags` and `ood_flags` say how often it was right on each image, by suite and condition.
    """

    train: TrainMetrics
    adversarial: Mapping[str, AdversarialMetrics]
    ood: Mapping[str, OodMetrics]
    adversarial_flags: Mapping[str, Flags]
    ood_flags: Mapping[str, Flags]


@dataclass(frozen=True)
class Measured:
    """A number of one run, accuracies as shares in [0, 1], and its 95 % interval over images where it has one.

    Attributes:
        images: shares [N] of each image in [0, 1], of which it is the mean; None where they are not kept.
        unit: what a share of 1 is in the unit of the number.
    """

    value: float
    interval: tuple[float, float] | None = None
    images: NDArray[Any] | None = field(default=None, compare=False, repr=False)
    unit: float = 1.0

    def times(self, factor: float) -> "Measured":
        """Return the number in another unit."""
        ends = self.interval and (factor * self.interval[0], factor * self.interval[1])
        return Measured(factor * self.value, ends, self.images, factor * self.unit)


class NotMeasuredError(LookupError):
    """A run has no number for a column; the message says why."""


def measurement(run: Measurements, column: PrintedColumn, row: PrintedRow, suites: Collection[str]) -> Measured:
    """Return what `run` measured of a column; `row` says through which branches of mixture batch norm.

    Args:
        suites: the shipped ones that the table of the column names.

    Raises:
        NotMeasuredError: it measured nothing of the kind.
    """
    if column.not_measured:
        raise NotMeasuredError(column.not_measured)
    if column.measure == "trained-parameters":
        return Measured(run.train.trained_parameters)
    # The schema of a column wants both where they are used.
    suite, condition = row.suites.get(column.suite or "", column.suite or ""), column.condition or ""
    if suite.startswith("ood-"):
        name = _suite_of_study(run.ood, suite, suites)
        shifted = _shifted(run.ood[name], condition, column.corruptions)
        flags = {} if column.corruptions else run.ood_flags[name]
        return _with_images(shifted, flags, None if condition == CORRUPTIONS else condition)
    name = _suite_of_study(run.adversarial, suite, suites)
    attacked = _attacked(run.adversarial[name], column.measure, condition, row)
    is_plain = column.measure == "accuracy" and row.branch is None and row.mixture_weight is None
    return _with_images(attacked, run.adversarial_flags[name] if is_plain else {}, condition)


def study_suite(names: Collection[str], shipped: str, of_table: Collection[str]) -> str | None:
    """Return which suite of a study stands for a shipped one; None if there is none.

    It has the name of the shipped one, with or without the kind, or is the only one of its kind in the study, if the
    table has columns of one suite of the kind: of two, it could not stand for both.

    Args:
        names: of the study's suites of the kind.
        of_table: the shipped suites that the columns of the table name.
    """
    kind, _, name_alone = shipped.partition("-")
    for name in (shipped, name_alone):
        if name in names:
            return name
    of_kind = [suite for suite in of_table if suite.startswith(f"{kind}-")]
    return next(iter(names)) if len(names) == len(of_kind) == 1 else None


def _suite_of_study(evaluations: Collection[str], suite: str, of_table: Collection[str]) -> str:
    name = study_suite(evaluations, suite, of_table)
    if name is None:
        raise NotMeasuredError(f"the study has no suite {suite}")
    return name


def _with_images(measured: Measured, flags: Flags, condition: str | None) -> Measured:
    return replace(measured, images=flags[condition]) if condition in flags else measured


def _attacked(metrics: AdversarialMetrics, measure: str, condition: str, row: PrintedRow) -> Measured:
    if measure == "gap":
        if metrics.training is None:
            raise NotMeasuredError("the suite asks for no training images (training_images)")
        return Measured(metrics.training.gap, (metrics.training.gap_low, metrics.training.gap_high))
    if measure != "accuracy" and (row.branch is not None or row.mixture_weight is not None):
        raise NotMeasuredError("of a branch or a mixture only accuracies are measured")
    if measure == "property":
        return _mean(metrics.properties, condition, f"the suite asks for no {condition} (properties)")
    if measure == "cross-entropy":
        return _mean(metrics.cross_entropy, condition, f"the suite asks for no losses of {condition} (losses)")
    if measure == "top-5":
        return _share(metrics.top_5, condition, f"top-5 accuracy of {condition} is not measured (losses)")
    if row.mixture_weight is not None:
        weight = row.mixture_weight
        found = [
            each.accuracy
            for each in metrics.mixtures
            if each.inference == "logits" and math.isclose(each.weight, weight, abs_tol=1e-9)
        ]
        if not found:
            raise NotMeasuredError(f"the suite asks for no mixture of weight {weight:g} (mixtures)")
        return _share(found[0], condition, f"{condition} is not run on mixtures")
    if row.branch is None:
        return _share(metrics.accuracy, condition, f"the suite has no {condition}")
    if row.branch not in metrics.branches:
        raise NotMeasuredError(f"the model has no {row.branch} branch")
    return _share(metrics.branches[row.branch], condition, f"{condition} is not run on the {row.branch} branch")


def _shifted(metrics: OodMetrics, condition: str, corruptions: Sequence[str]) -> Measured:
    if condition == CORRUPTIONS:
        if (mean := metrics.mean) is None:
            raise NotMeasuredError("the suite has no corruptions")
        return _mean_over(corruptions, metrics.corruptions) if corruptions else _of_mean(mean)
    if condition in metrics.corrupted_sets:
        corrupted = metrics.corrupted_sets[condition]
        return _mean_over(corruptions, corrupted.corruptions) if corruptions else _of_mean(corrupted)
    return _share(metrics.test_sets, condition, f"test set {condition} is not available")


def _of_mean(mean: MeanAccuracy) -> Measured:
    return Measured(mean.mean_accuracy, (mean.mean_low, mean.mean_high))


def _mean_over(names: Sequence[str], measured: Mapping[str, CorruptionAccuracy]) -> Measured:
    """Return the mean accuracy over some corruptions.

    Its interval is the mean of theirs, which is never too narrow: accuracies on versions of the same images vary
    together at most wholly.
    """
    for name in names:
        if name not in measured:
            raise NotMeasuredError(f"the suite has no corruption {name}")
    means = [_of_mean(measured[name]) for name in names]
    low, high = (fmean(each.interval[end] for each in means if each.interval) for end in (0, 1))
    return Measured(fmean(each.value for each in means), (low, high))


def _share(shares: Mapping[str, Proportion], condition: str, reason: str) -> Measured:
    if condition not in shares:
        raise NotMeasuredError(reason)
    return Measured(shares[condition].accuracy, shares[condition].interval)


def _mean(summaries: Mapping[str, PropertySummary], name: str, reason: str) -> Measured:
    if name not in summaries:
        raise NotMeasuredError(reason)
    summary = summaries[name]
    if summary.mean is None:
        raise NotMeasuredError(f"{name} is finite for no image")
    if summary.low is None or summary.high is None:
        return Measured(summary.mean)
    return Measured(summary.mean, (summary.low, summary.high))
