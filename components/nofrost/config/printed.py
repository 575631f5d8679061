"""Printed numbers: the tables and figures of the papers as facts, shipped in ``printed/PAPER/ID.yaml``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from nofrost.config.base import Name, OmitEmpty, Schema, Share
from nofrost.config.paper_claims import Claim
from nofrost.config.reading import read, shipped_names
from nofrost.config.sweeps import Coordinate, Place
from nofrost.config.validation import sentence
from nofrost.errors import UserError, closest, shortened, unknown

Unit = Literal["percent", "share", "degrees", "nats", "probability", "length", "count", "ratio", "none"]
Measure = Literal["accuracy", "cross-entropy", "top-5", "gap", "property", "trained-parameters"]
Number = float | tuple[float, float] | None
"""As printed; the least and the largest of a range; null for a number that cannot be read."""


# Of a row for one place of a sweep: what is printed belongs to no place.
_NOTHING_PRINTED: Mapping[str, Any] = {
    "relative_to": None,
    "values": {},
    "spread": {},
    "derived": {},
    "unreadable": "",
    "note": "",
}


class PrintedAxis(OmitEmpty, Schema):
    """An axis along which rows or columns of a table lie.

    Attributes:
        title: what it is, in our words, with its unit; ASCII.
        values: what the paper says of them beyond those of the rows.
    """

    title: str = Field(pattern="^[ -~]+$")
    values: str = ""


class TrainableDepth(Schema):
    """The line of the largest trainable depth by batch size over these two axes, for lines of networks with batch norm
    and without shortcuts (nofrost/measures/trainable_depth.py); a line is given by one of its rows."""

    depth: Name
    batch: Name
    rows: tuple[Name, ...] = Field(min_length=1)


class PrintedColumn(OmitEmpty, Schema):
    """A column of a table, and the measurement of ours that stands beside it.

    Attributes:
        title: in our words.
        unit: of its numbers; null: that of the table.
        measure: ``accuracy``, ``cross-entropy`` and ``top-5`` are of a `condition` of a `suite`, ``property`` is a mean
            over images, ``gap`` is the accuracy on training images less that on test images, and
            ``trained-parameters`` counts what the last phase trained.
        suite: name of a shipped suite.
        condition: ``clean``, an attack, or ``worst-case``; of an ood suite a test set, or ``corruptions`` for the mean
            over these; of the measure ``property`` its name.
        corruptions: that the mean of a `condition` of corrupted images is over; empty for those that it is of by
            itself.
        recipe, set: of tables whose columns are trainings.
        at: where it lies on axes of the table.
        not_measured: what ours lacks; a column has this or a measurement.
    """

    title: str
    unit: Unit | None = None
    measure: Measure = "accuracy"
    suite: Name | None = None
    condition: str | None = None
    corruptions: tuple[str, ...] = ()
    recipe: Name | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    at: dict[Name, Coordinate] = Field(default_factory=dict)
    not_measured: str = ""

    @model_validator(mode="after")
    def _is_measured_or_not(self) -> PrintedColumn:
        if self.not_measured:
            if self.suite or self.condition:
                raise ValueError("not_measured has no suite and no condition: leave out one or the other")
        elif self.measure != "trained-parameters" and not self.suite:
            raise ValueError(
                "suite is missing: name the shipped suite that measures it, or say why not in not_measured"
            )
        elif self.measure not in ("trained-parameters", "gap") and not self.condition:
            raise ValueError("condition is missing: name what of the suite it is, such as clean")
        return self


class PrintedRow(OmitEmpty, Schema):
    """A row of a table: a training, or a difference of two rows.

    Attributes:
        label: in our words.
        recipe: name of a shipped recipe, with its settings `set`; null for what no recipe trains.
        run: name of the recipe in a study, the same in all tables that show the training; null: the name of the row.
        not_run: why there is no recipe for it, where it is no difference either.
        dataset, threat: where they are not those of the table.
        suites: shipped suites that measure the row in the place of its columns', by the names of these, such as one
            with the budget of the row.
        at: where it lies on axes of the table.
        line: what the figure calls the rows that differ in `at` alone; empty: the label.
        branch: of mixture batch norm, through which the row is measured.
        mixture_weight: of the adversarial branch's logits, where the row is one of several mixtures of its branches.
        unit: where it is not that of the column.
        relative_to: the row that its values are differences from; `derived` are then the values reckoned from these.
        difference_of: two rows of which its values are differences, the first less the second.
        ratio_of: two rows of which its values are ratios, the first over the second.
        values: by column. A column without one is empty in the table.
        unreadable: why a value is null, where it is not for the reason of the table.
        spread: by column, of the kind that the table says.
    """

    label: str
    recipe: Name | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    run: Name | None = None
    not_run: str = ""
    dataset: dict[str, Any] = Field(default_factory=dict)
    threat: str = ""
    suites: dict[Name, Name] = Field(default_factory=dict)
    at: dict[Name, Coordinate] = Field(default_factory=dict)
    line: str = ""
    branch: Literal["clean", "adversarial"] | None = None
    mixture_weight: Share | None = None
    unit: Unit | None = None
    relative_to: Name | None = None
    difference_of: tuple[Name, Name] | None = None
    ratio_of: tuple[Name, Name] | None = None
    values: dict[Name, Number] = Field(default_factory=dict)
    unreadable: str = ""
    spread: dict[Name, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    derived: dict[Name, float] = Field(default_factory=dict)
    note: str = ""


class Printed(OmitEmpty, Schema):
    """The printed numbers of a table, a figure or the text of a paper.

    Attributes:
        id: name of the file, such as ``wang2022-table-1``.
        number: of the table or figure.
        seeds, spread_is: of how many trainings the values are means, and what the spread beside them is.
        axes: what rows or columns differ in, by name; a study's sweep over an axis has that name.
        trainable_depth: the line that the figure draws over two of its axes.
        section: of the report, which shows what the figure shows.
        unreadable: why values are null.
    """

    id: Name
    paper: str
    kind: Literal["table", "figure", "text"]
    number: int | None = Field(default=None, ge=1)
    title: str
    unit: Unit
    section: str = ""
    dataset: dict[str, Any] = Field(default_factory=dict)
    threat: str = ""
    seeds: int | str | None = None
    spread_is: str = ""
    axes: dict[Name, PrintedAxis] = Field(default_factory=dict)
    trainable_depth: TrainableDepth | None = None
    notes: tuple[str, ...] = ()
    unreadable: str = ""
    columns: dict[Name, PrintedColumn]
    rows: dict[Name, PrintedRow]
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _rows_fit_the_columns(self) -> Printed:
        for name, row in self.rows.items():
            for key in ("values", "spread", "derived"):
                for column in getattr(row, key):
                    if column not in self.columns:
                        raise unknown(f"column in rows.{name}.{key}", column, self.columns)
            if row.not_run and (row.recipe or row.difference_of or row.ratio_of):
                raise ValueError(f"rows.{name} has a recipe or is of two rows, and a reason not_run: leave out one")
            for other in (row.relative_to, *(row.difference_of or ()), *(row.ratio_of or ())):
                if other is not None and other not in self.rows:
                    raise unknown(f"row in rows.{name}", other, self.rows)
            suites = {column.suite for column in self.columns.values() if column.suite}
            for suite in row.suites:
                if suite not in suites:
                    raise unknown(f"suite of a column in rows.{name}.suites", suite, suites)
            if None in row.values.values() and not (row.unreadable or self.unreadable):
                raise ValueError(f"rows.{name} has a null value: say in its key unreadable why")
        return self

    @model_validator(mode="after")
    def _claims_name_values(self) -> Printed:
        for claim in self.claims:
            for value in (value for inequality in claim.inequalities for value in inequality.values):
                if value.row not in self.rows and not self._is_cell(value.row):
                    raise unknown(f"row in the claim {claim.text!r}:", value.row, self.rows)
                if value.column not in self.columns:
                    raise unknown(f"column in the claim {claim.text!r}:", value.column, self.columns)
        return self

    @model_validator(mode="after")
    def _places_are_on_axes(self) -> Printed:
        depth = self.trainable_depth
        used = [(f"rows.{name}.at", axis) for name, row in self.rows.items() for axis in row.at]
        used += [(f"columns.{name}.at", axis) for name, column in self.columns.items() for axis in column.at]
        used += [("trainable_depth", axis) for axis in ((depth.depth, depth.batch) if depth else ())]
        for where, axis in used:
            if axis not in self.axes:
                raise unknown(f"axis in {where}", axis, self.axes)
        for row in depth.rows if depth else ():
            if row not in self.rows:
                raise unknown("row in trainable_depth.rows", row, self.rows)
        return self

    def _is_cell(self, name: str) -> bool:
        """Return whether a row swept along axes of the table may have this name, such as ``bn-depth-25-batch-256``."""
        axes = "".join(rf"(-{axis}-[\w-]+?)?" for axis in self.axes)
        return any(re.fullmatch(re.escape(row) + axes, name) for row in self.rows)

    @property
    def name(self) -> str:
        """As a text refers to it: ``Table 1``, ``Figure 2``, ``text``."""
        return f"{self.kind.capitalize()} {self.number}" if self.number else self.kind

    @property
    def suites(self) -> frozenset[str]:
        """The shipped suites that measure its columns and rows."""
        of_columns = {column.suite for column in self.columns.values() if column.suite}
        return frozenset(of_columns.union(*(row.suites.values() for row in self.rows.values())))

    def unit_of(self, row: str, column: str) -> Unit:
        """Return the unit of a value."""
        return self.rows[row].unit or self.columns[column].unit or self.unit

    def absolute(self, row: str, column: str) -> float | None:
        """Return a value as a number of its own, where it is printed as one or as a difference; None otherwise."""
        entry = self.rows[row]
        value = entry.derived.get(column, entry.values.get(column) if entry.relative_to is None else None)
        return value if isinstance(value, int | float) else None

    def run_of(self, row: str, column: str) -> str | None:
        """Return the recipe of a study that a value belongs to; None for a row that no recipe trains.

        It bears the name of the row, or the row's `run`; where columns are trainings, that of the one of the two that
        names the recipe, followed by that of the other one, if this has settings: ``ROW-COLUMN`` or ``COLUMN-ROW``.
        """
        entry, heading = self.rows[row], self.columns[column]
        if not (entry.recipe or heading.recipe) or entry.difference_of or entry.ratio_of:
            return None
        of_row, of_column = (entry.run or row, entry.set), (column, heading.set)
        (name, _), (other, settings) = (of_column, of_row) if heading.recipe else (of_row, of_column)
        return f"{name}-{other}" if settings else name

    def runs_of(self, row: str) -> set[str]:
        """Return the recipes of a study that a row belongs to, also in a table that prints no columns."""
        entry = self.rows[row]
        if not self.columns and entry.recipe:
            return {entry.run or row}
        return {name for column in self.columns if (name := self.run_of(row, column)) is not None}

    def trainings(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the trainings that the table is about: name of the recipe in a study, shipped recipe, settings."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for row, entry in self.rows.items():
            for column, heading in self.columns.items():
                recipe, name = heading.recipe or entry.recipe, self.run_of(row, column)
                if name is not None and recipe is not None:
                    found.setdefault(name, (recipe, {**entry.set, **heading.set}))
            if not self.columns and entry.recipe:
                found.setdefault(entry.run or row, (entry.recipe, entry.set))
        yield from ((name, *training) for name, training in found.items())

    def at_places(self, places: Mapping[str, Place]) -> Printed:
        """Return the table with rows of no printed values for the recipes of a study's sweep, given by name: each below
        the row that it was made from, and those of a difference for the places that both of its rows have."""
        by_row: dict[str, dict[str, Place]] = {}
        for recipe, place in places.items():
            by_row.setdefault(place.row, {})[recipe.removeprefix(place.row)] = place
        rows: dict[str, PrintedRow] = {}
        for name, row in self.rows.items():
            rows[name] = row
            others = [self.rows[each].run or each for each in row.difference_of or (name,)]
            of_others = [by_row.get(other, {}) for other in others]
            for suffix in of_others[0] if all(suffix in each for suffix in of_others[0] for each in of_others) else ():
                at = of_others[0][suffix].at
                others_here = [f"{each}{suffix}" for each in row.difference_of or ()]
                rows[f"{name}{suffix}"] = row.model_copy(
                    update={
                        "label": ", ".join(f"{axis} {where}" for axis, where in at.items()),
                        "run": None if others_here else f"{others[0]}{suffix}",
                        "difference_of": tuple(others_here) or None,
                        "at": {**row.at, **at},
                        "line": row.line or row.label,
                        **_NOTHING_PRINTED,
                    }
                )
        swept = dict.fromkeys(axis for place in places.values() for axis in place.at)
        axes = {axis: PrintedAxis(title=axis) for axis in swept if axis not in self.axes}
        return self.model_copy(update={"rows": rows, "axes": {**self.axes, **axes}})

    def fits(self, recipes: Iterable[str]) -> bool:
        """Return whether any of these recipes of a study is a training of the table."""
        return not {name for name, _, _ in self.trainings()}.isdisjoint(recipes)


@cache
def load_printed(name: str) -> Printed:
    """Return the printed numbers of this id.

    Raises:
        UserError: there are none, or the file is wrong; the message names file and key.
    """
    if name not in (known := printed_names()):
        hint = f"{closest(name, known)}`nofrost study printed` lists the {len(known)} that are here"
        raise UserError(f"unknown printed table or figure {shortened(name)}: {hint}")
    return parse_printed(read("printed", name), name)


def parse_printed(values: Mapping[str, Any], origin: str) -> Printed:
    """Return the content of a file with printed numbers; `origin` names it in errors.

    Raises:
        UserError: a key or value is wrong, or a row, column or claim does not fit the others.
    """
    try:
        return Printed.model_validate(values)
    except ValidationError as error:
        raise UserError(sentence(error, Printed, origin)) from None


def printed_names(paper: str | None = None) -> list[str]:
    """Return the ids of the printed tables and figures, or of those of one paper, sorted."""
    return [name for name in shipped_names("printed") if paper is None or name.split("-")[0] == paper]
