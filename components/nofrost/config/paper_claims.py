"""What a paper claims of its numbers, as inequalities that a program can decide.

An inequality is a line such as ``nofrost.clean > sat.clean``. Each side is a number, a value ``ROW.COLUMN`` of the
table, or the difference of two values; ``~`` needs a tolerance (``a.clean ~ b.clean ± 1``), and several values on the
right, separated by commas, are as many inequalities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from nofrost.config.base import OmitEmpty, Settings
from nofrost.config.sizes import Size
from nofrost.errors import shortened

Relation = Literal[">", "<", "~"]
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_VALUE = re.compile(r"([\w-]+)\.([\w-]+)")
_LINE = re.compile(r"(?P<left>[^<>~±]+) (?P<relation>[<>~]) (?P<right>[^<>~±]+?)(?: ± (?P<tolerance>\d+(\.\d+)?))?")
_FORM = "write one such as nofrost.clean > sat.clean"


@dataclass(frozen=True)
class Value:
    """The value of a row in a column of a table."""

    row: str
    column: str

    def __str__(self) -> str:
        return f"{self.row}.{self.column}"


@dataclass(frozen=True)
class Side:
    """One side of an inequality: a `number`, or the first value, less the second if there are two."""

    number: float | None
    values: tuple[Value, ...] = ()

    def of(self, value: Callable[[Value], float]) -> float:
        """Return what the side is, given the value of a row and column."""
        if self.number is not None:
            return self.number
        first, *others = map(value, self.values)
        return first - sum(others)

    def __str__(self) -> str:
        return f"{self.number:g}" if self.number is not None else " - ".join(map(str, self.values))


@dataclass(frozen=True)
class Inequality:
    """``left relation right``; `tolerance` is that of ``~``, in the unit of the column."""

    left: Side
    relation: Relation
    right: Side
    tolerance: float = 0.0

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that it compares."""
        return (*self.left.values, *self.right.values)

    def margin(self, value: Callable[[Value], float]) -> float:
        """Return by how much the inequality holds, in the unit of the column; negative where it does not."""
        difference = self.left.of(value) - self.right.of(value)
        margins = {">": difference, "<": -difference, "~": self.tolerance - abs(difference)}
        return margins[self.relation]

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}" + (f" ± {self.tolerance:g}" if self.relation == "~" else "")


def parse_inequalities(line: str) -> Iterator[Inequality]:
    """Yield the inequalities of a line.

    Raises:
        ValueError: it has another form.
    """
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"{shortened(line)} is no inequality: {_FORM}")
    relation: Relation = match["relation"]  # type: ignore[assignment]
    if (relation == "~") != (match["tolerance"] is not None):
        raise ValueError(
            f"{shortened(line)}: ~ has a tolerance and no other relation: write such as a.clean ~ b.clean ± 1"
        )
    for right in match["right"].split(","):
        yield Inequality(_side(match["left"]), relation, _side(right), float(match["tolerance"] or 0))


def _side(text: str) -> Side:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return Side(float(text))
    matches = [_VALUE.fullmatch(part) for part in text.split(" - ")]
    if len(matches) > 2 or not all(matches):
        raise ValueError(f"{shortened(text)} is no number, no ROW.COLUMN and no difference of two of these: {_FORM}")
    return Side(None, tuple(Value(match[1], match[2]) for match in matches if match))


class Claim(OmitEmpty, Settings):
    """A claim of a paper about one of its tables or figures.

    Attributes:
        text: in our words.
        all: the inequalities that must all hold.
        undecided: why no inequality decides it; either this or `all` is given.
        expected_at: the sizes of a study at which it is expected to hold; empty for every size.
    """

    text: str = Field(min_length=1)
    all: tuple[str, ...] = ()
    undecided: str = ""
    expected_at: tuple[Size, ...] = ()

    @field_validator("all")
    @classmethod
    def _lines_are_inequalities(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            list(parse_inequalities(line))
        return lines

    @model_validator(mode="after")
    def _is_decided_or_not(self) -> Claim:
        if bool(self.all) == bool(self.undecided):
            raise ValueError("write the inequalities that decide it in `all`, or in `undecided` why there are none")
        return self

    @property
    def inequalities(self) -> tuple[Inequality, ...]:
        """The inequalities that must all hold; none where it is undecided."""
        return tuple(inequality for line in self.all for inequality in parse_inequalities(line))

    def expected(self, size: Size | None) -> bool:
        """Return whether it is expected to hold in a study of this size; None: the study states none."""
        return not self.expected_at or size in self.expected_at
