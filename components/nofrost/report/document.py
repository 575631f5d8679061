"""The document model of the report: sections of blocks, plain text without markup, rendered as HTML and Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from nofrost.results import Alarm, Status


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    `small` is printed under `text` with its line breaks, `hint` is shown on hover. `bounds` (low, value, high in
    [0, 1]) is drawn as a bar under the number. `recipe` is the recipe's position in the study, for its colour and
    marker. `status` makes the cell a badge. `best` marks the value that the paired test separates from all others of
    its column, `doubt` is a warning that stands beside the value as a badge.
    """

    text: str
    small: str = ""
    hint: str = ""
    bounds: tuple[float, float, float] | None = None
    recipe: int | None = None
    status: Status | None = None
    best: bool = False
    doubt: str = ""


@dataclass(frozen=True)
class Column:
    """A column's header. Neighbours with the same `group` share a header above theirs; `text` columns align left."""

    title: str
    group: str = ""
    text: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column heads its rows. One with a `summary` is folded under it and opens on a click."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    summary: str = ""
    number: str = ""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The headers above the headers with the number of columns each spans; empty when there is none."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(group for group, _ in spans) else []


@dataclass(frozen=True)
class Panel:
    """One drawing: `svg` is markup made by this package, `alt` says in words what it shows."""

    title: str
    svg: str
    alt: str
    recipe: int | None = None


@dataclass(frozen=True)
class Figure:
    """One drawing, or several small ones side by side, with the recipes of the `legend` (name and position).

    `wide` drawings may be of different heights: they fill columns under the legend.
    """

    kind: ClassVar[str] = "figure"
    caption: str
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, int]] = ()
    wide: bool = False
    number: str = ""


@dataclass(frozen=True)
class Picture:
    """An image as a data URI with its description and what is printed under it."""

    source: str
    alt: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Pictures:
    """Rows of images under each other; `corner` says what heads the columns, `recipe` is as in :class:`Cell`.

    Those with a `summary` are folded under it.
    """

    kind: ClassVar[str] = "pictures"
    title: str
    caption: str
    rows: Sequence[tuple[str, Sequence[Picture]]]
    columns: Sequence[str]
    corner: str = ""
    recipe: int | None = None
    summary: str = ""
    number: str = ""


@dataclass(frozen=True)
class AlarmCard:
    """The alarms of one recipe."""

    title: str
    recipe: int
    alarms: Sequence[Alarm]

    def of(self, *statuses: Status) -> list[Alarm]:
        """Return the alarms of these statuses."""
        return [alarm for alarm in self.alarms if alarm.status in statuses]


@dataclass(frozen=True)
class Alarms:
    """The alarms of all recipes."""

    kind: ClassVar[str] = "alarms"
    cards: Sequence[AlarmCard]


@dataclass(frozen=True)
class Facts:
    """Names and values, one line each."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Paragraph:
    """Sentences; `callout` sets them apart."""

    kind: ClassVar[str] = "paragraph"
    text: str
    callout: str = ""


@dataclass(frozen=True)
class KeyPoints:
    """The conclusions from the numbers, one sentence each."""

    kind: ClassVar[str] = "key_points"
    sentences: Sequence[str]


@dataclass(frozen=True)
class Code:
    """A text to be shown verbatim, folded under `summary`."""

    kind: ClassVar[str] = "code"
    summary: str
    text: str
    language: str = "yaml"


# An id in a drawing, and what refers to it.
_REFERENCE = re.compile(r"""((?:\bid="|href="#|url\(#))""")

Block = Table | Figure | Pictures | Alarms | Facts | Paragraph | KeyPoints | Code


@dataclass(frozen=True)
class Section:
    """A part of the report; `key` is its anchor, `nav` its name in the table of contents."""

    key: str
    title: str
    nav: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]


def with_own_ids(block: Block, prefix: str) -> Block:
    """Return a block whose drawings have ids that begin with `prefix`: those of another suite may have the same ids."""
    if not isinstance(block, Figure):
        return block
    panels = [replace(panel, svg=_REFERENCE.sub(rf"\1{prefix}-", panel.svg)) for panel in block.panels]
    return replace(block, panels=panels)


def numbered(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with all tables and figures numbered in order: Table 1, Figure 1, ..."""
    tables = figures = 0
    result = []
    for section in sections:
        blocks: list[Block] = []
        for block in section.blocks:
            if isinstance(block, Table):
                tables += 1
                block = replace(block, number=f"Table {tables}")
            elif isinstance(block, Figure | Pictures):
                figures += 1
                block = replace(block, number=f"Figure {figures}")
            blocks.append(block)
        result.append(replace(section, blocks=blocks))
    return result
