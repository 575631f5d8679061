"""Printed numbers beside what a study measured: value by value, and claim by claim."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from nofrost.config import Claim, Inequality, Place, Printed, Size, Value
from nofrost.report.margin_noise import Term, half_width
from nofrost.report.measurement import Measured, Measurements, NotMeasuredError, measurement
from nofrost.statistics import (
    difference_interval,
    difference_of_means,
    mean_and_deviation,
    ratio_interval,
    ratio_of_means,
)

Verdict = Literal["holds", "does not hold", "not expected at this size", "not measured", "not decided by numbers"]
NOT_RUN = "not run"
SWEPT = "swept: see the rows below it"
_FACTOR = {"percent": 100.0}
# Only these measures are shares, which a table may print in percent.
_SHARES = ("accuracy", "top-5", "gap")


@dataclass(frozen=True)
class Ours:
    """What the trainings of a recipe measured, in the unit of the printed table.

    Attributes:
        value: of one training, or the mean over `trainings`.
        interval: of 95 % over images, where there is one training.
        deviation, standard_error: over trainings (ddof = 1), where there are several.
    """

    value: float
    trainings: int
    interval: tuple[float, float] | None = None
    deviation: float | None = None
    standard_error: float | None = None

    def range(self, with_error: bool) -> tuple[float, float]:
        """Return the interval, or the mean plus and minus the deviation, or `with_error` the standard error."""
        spread = (self.standard_error if with_error else self.deviation) or 0.0
        return self.interval or (self.value - spread, self.value + spread)


@dataclass(frozen=True)
class PrintedValue:
    """A row and column of a printed table with ours; `reason` says why there is none.

    Attributes:
        printed: null where nothing is printed there; a range has two ends.
        spread: of the printed number.
        difference: ours less the printed number, or the middle of the printed range.
        inside: whether the range of ours and that of the printed number (with its spread) meet.
    """

    value: Value
    printed: float | tuple[float, float] | None
    spread: float | None
    ours: Ours | None
    reason: str
    difference: float | None
    inside: bool | None


@dataclass(frozen=True)
class DecidedClaim:
    """What a claim is worth here. `margins` says by how much each inequality holds, in the unit of its column.

    `in_noise`: the verdict rests on a margin whose 95 % interval, over seeds and images, has zero in it.
    """

    claim: Claim
    verdict: Verdict
    margins: tuple[tuple[Inequality, float], ...] = ()
    in_noise: bool = False
    reason: str = ""

    @property
    def remark(self) -> str:
        """What is to be said of the verdict."""
        return remark_on(self.verdict, [margin for _, margin in self.margins], self.in_noise)


def remark_on(verdict: Verdict, margins: Collection[float], in_noise: bool) -> str:
    """Return what is to be said of a verdict: of a claim that is not expected to hold, whether it does all the same."""
    noise = "within the noise" if in_noise else ""
    if verdict != "not expected at this size" or not margins:
        return noise
    return f"it {'holds' if _all_hold(margins) else 'does not hold'} here{', ' + noise if noise else ''}"


def _all_hold(margins: Collection[float]) -> bool:
    return all(margin > 0 for margin in margins)


class PrintedComparison:
    """One printed table beside the runs of a study."""

    def __init__(
        self,
        printed: Printed,
        runs: Mapping[str, Sequence[Measurements]],
        size: Size | None,
        places: Mapping[str, Place],
    ) -> None:
        """Compare `printed` with `runs`, the trainings of each recipe of the study by its name.

        Args:
            size: of the study.
            places: of recipes that a sweep made.
        """
        measured = {name: place for name, place in places.items() if name in runs}
        self.printed = printed.at_places(measured)
        self.runs = runs
        self.size = size
        self.swept = frozenset(place.row for place in measured.values())

    @property
    def with_error(self) -> bool:
        """Whether the paper prints standard errors; ours are then of that kind too, and deviations otherwise."""
        return "standard error" in self.printed.spread_is

    @cached_property
    def entries(self) -> dict[Value, PrintedValue]:
        """Every row and column of the table."""
        values = (Value(row, column) for row in self.printed.rows for column in self.printed.columns)
        return {value: self._entry(value) for value in values}

    @cached_property
    def decisions(self) -> list[DecidedClaim]:
        """The claims of the paper about the table, decided."""
        return [self._decision(claim) for claim in self.printed.claims]

    def as_json(self) -> dict[str, Any]:
        """Return the measured values by row and column, in the unit of the table, and the verdicts on the claims.

        Rows that lie on axes have their line and place under ``places``.
        """
        rows: dict[str, dict[str, Any]] = {}
        for value, entry in self.entries.items():
            if (ours := entry.ours) is not None:
                rows.setdefault(value.row, {})[value.column] = {
                    "ours": ours.value,
                    "interval": ours.interval and list(ours.interval),
                    "deviation": ours.deviation,
                    "standard_error": ours.standard_error,
                    "trainings": ours.trainings,
                    "printed": list(entry.printed) if isinstance(entry.printed, tuple) else entry.printed,
                    "spread": entry.spread,
                    "difference": entry.difference,
                    "inside": entry.inside,
                }
        claims = [
            {
                "text": each.claim.text,
                "verdict": each.verdict,
                "in_noise": each.in_noise,
                "margins": {str(inequality): margin for inequality, margin in each.margins},
            }
            for each in self.decisions
        ]
        placed = {name: self.printed.rows[name] for name in rows if self.printed.rows[name].at}
        places = {name: {"line": row.line or row.label, "at": row.at} for name, row in placed.items()}
        return {"size": self.size, "rows": rows, **({"places": places} if places else {}), "claims": claims}

    def absolute(self, value: Value) -> Ours:
        """Return what the training of a row measured, although the row may be printed as a difference.

        Raises:
            NotMeasuredError: it was not run, or did not measure it.
        """
        row = self.printed.rows.get(value.row)
        if row and row.ratio_of:
            return _ratio(*(self._trainings(Value(other, value.column)) for other in row.ratio_of))
        if row and row.difference_of:
            return _difference(*(self._trainings(Value(other, value.column)) for other in row.difference_of))
        return _over_trainings(self._trainings(value))

    def _trainings(self, value: Value) -> list[Measured]:
        """Return what each training of a row measured, in the unit of the table."""
        # A claim may be about a cell of a sweep that this study does not have.
        if value.row not in self.printed.rows:
            raise NotMeasuredError(NOT_RUN)
        row, column = self.printed.rows[value.row], self.printed.columns[value.column]
        name = self.printed.run_of(value.row, value.column)
        if name is None:
            raise NotMeasuredError(row.not_run or "no recipe trains it")
        if name not in self.runs:
            raise NotMeasuredError(SWEPT if name in self.swept else NOT_RUN)
        is_share = column.measure in _SHARES
        factor = _FACTOR.get(self.printed.unit_of(value.row, value.column), 1.0) if is_share else 1.0
        suites = self.printed.suites
        return [measurement(run, column, row, suites).times(factor) for run in self.runs[name]]

    def _terms(self, inequality: Inequality) -> Iterator[Term]:
        """Yield what the margin of an inequality is the sum of, to first order where a row is a ratio."""
        for side, sign in ((inequality.left, 1.0), (inequality.right, -1.0)):
            for value, factor in zip(side.values, (sign, -sign), strict=False):
                row = self.printed.rows[value.row]
                others = row.ratio_of or row.difference_of or (value.row,)
                trainings = [self._trainings(Value(other, value.column)) for other in others]
                if row.ratio_of:
                    first, second = (fmean(each.value for each in group) for group in trainings)
                    factors = (factor / second, -factor * first / second**2)
                else:
                    factors = (factor, -factor)
                yield from zip(factors, trainings, strict=False)

    def _entry(self, value: Value) -> PrintedValue:
        row = self.printed.rows[value.row]
        printed, spread = row.values.get(value.column), row.spread.get(value.column)
        try:
            if row.relative_to:
                other = Value(row.relative_to, value.column)
                ours = _difference(self._trainings(value), self._trainings(other))
            else:
                ours = self.absolute(value)
        except NotMeasuredError as reason:
            return PrintedValue(value, printed, spread, None, str(reason), None, None)
        if printed is None:
            return PrintedValue(value, printed, spread, ours, "", None, None)
        least, most = printed if isinstance(printed, tuple) else (printed, printed)
        low, high = ours.range(self.with_error)
        margin = (spread or 0.0) + _rounding(self.decimals(value))
        inside = low <= most + margin and least - margin <= high
        return PrintedValue(value, printed, spread, ours, "", ours.value - (least + most) / 2, inside)

    def decimals(self, value: Value) -> int:
        """Return how many decimals the numbers of a column are shown with: as many as any that is printed in it."""
        numbers = [row.values.get(value.column) for row in self.printed.rows.values()]
        flat = [each for number in numbers for each in (number if isinstance(number, tuple) else (number,))]
        return max((_decimals(number) for number in flat if number is not None), default=2)

    def carried_decimals(self, value: Value, of_percent: int) -> int:
        """Return how many decimals ours has at most, where percentages have `of_percent`."""
        unit = self.printed.unit_of(value.row, value.column)
        return {"percent": of_percent, "share": of_percent + 2}.get(unit, 10)

    def _decision(self, claim: Claim) -> DecidedClaim:
        if claim.undecided:
            return DecidedClaim(claim, "not decided by numbers", reason=claim.undecided)
        try:
            measured = {value: self.absolute(value) for inequality in claim.inequalities for value in inequality.values}
        except NotMeasuredError as reason:
            missing = next(value for value in _values(claim) if not self._is_measured(value))
            return DecidedClaim(claim, "not measured", reason=f"{missing}: {reason}")
        margins = [(each, each.margin(lambda value: measured[value].value)) for each in claim.inequalities]
        holds = _all_hold([margin for _, margin in margins])
        deciding = [
            abs(margin) < half_width(list(self._terms(inequality)))
            for inequality, margin in margins
            if holds or margin <= 0
        ]
        in_noise = any(deciding) if holds else all(deciding)
        verdict: Verdict = "holds" if holds else "does not hold"
        if not claim.expected(self.size):
            verdict = "not expected at this size"
        return DecidedClaim(claim, verdict, tuple(margins), in_noise)

    def _is_measured(self, value: Value) -> bool:
        try:
            self.absolute(value)
        except NotMeasuredError:
            return False
        return True


def _values(claim: Claim) -> Iterator[Value]:
    return (value for inequality in claim.inequalities for value in inequality.values)


def _over_trainings(measured: Sequence[Measured]) -> Ours:
    value, deviation = mean_and_deviation([each.value for each in measured])
    if deviation is None:
        return Ours(value, 1, measured[0].interval)
    return Ours(value, len(measured), None, deviation, deviation / math.sqrt(len(measured)))


def _difference(first: Sequence[Measured], second: Sequence[Measured]) -> Ours:
    """Return the first less the second: trainings are independent, and so are the intervals of single ones."""
    value, deviation, error = difference_of_means(*([each.value for each in group] for group in (first, second)))
    trainings = min(len(first), len(second))
    ends = [each.interval for each in (first[0], second[0])]
    if trainings > 1 or ends[0] is None or ends[1] is None:
        return Ours(value, trainings, None, deviation, error)
    return Ours(value, 1, difference_interval((first[0].value, *ends[0]), (second[0].value, *ends[1])))


def _ratio(first: Sequence[Measured], second: Sequence[Measured]) -> Ours:
    """Return the first over the second, of independent trainings."""
    values = [[each.value for each in group] for group in (first, second)]
    if any(sum(group) <= 0 for group in values):
        raise NotMeasuredError("one of the two numbers is 0 and has no ratio")
    value, deviation, error = ratio_of_means(*values)
    trainings = min(len(first), len(second))
    ends = [each.interval for each in (first[0], second[0])]
    if trainings > 1 or ends[0] is None or ends[1] is None or min(ends[0][0], ends[1][0]) <= 0:
        return Ours(value, trainings, None, deviation, error)
    return Ours(value, 1, ratio_interval((first[0].value, *ends[0]), (second[0].value, *ends[1])))


def _decimals(number: float) -> int:
    return len(f"{number:.10f}".rstrip("0").partition(".")[2])


def _rounding(decimals: int) -> float:
    """Return how far a number that is printed with so many decimals may be from the one that was measured."""
    return 0.5 * 10.0**-decimals
