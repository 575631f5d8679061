"""The report as one HTML file (style and drawings inside, no script, nothing to load) and as Markdown."""

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nofrost.errors import printable
from nofrost.report import figures
from nofrost.report.cells import ICONS
from nofrost.report.document import (
    Alarms,
    Block,
    Cell,
    Code,
    Column,
    Document,
    Facts,
    Figure,
    KeyPoints,
    Paragraph,
    Pictures,
    Table,
)
from nofrost.report.text import listed
from nofrost.results import STATUSES


def to_html(document: Document) -> str:
    """Return the page. Every text of the document is escaped; only drawings made by this package are markup."""
    return from_template("report.html.j2", document=document)


def from_template(name: str, stylesheets: Sequence[str] = ("style.css",), **values: object) -> str:
    """Return a page made from a template of this package, with its stylesheets inside."""
    environment = Environment(
        loader=PackageLoader("nofrost.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    folder = files("nofrost.report") / "templates"
    style = "\n".join((folder / each).read_text(encoding="utf-8") for each in stylesheets)
    environment.globals.update(
        icons=ICONS, style=Markup(style), swatch=lambda position: Markup(figures.swatch(position)), drawing=Markup
    )
    return _shown(environment.get_template(name).render(**values))


def _shown(text: str) -> str:
    """Return the text with its own line breaks, and names from outside without what a browser or terminal obeys."""
    return printable(text, keep="\n\t")


# In characters. A longer group header would make its columns too wide for a terminal: the caption states it instead.
LONGEST_GROUP = 16


def to_markdown(document: Document) -> str:
    """Return the report as GitHub-flavoured Markdown that reads well in a terminal; drawings are described in words.

    Characters that would be markup in a name or sentence are escaped.
    """
    parts = [f"# {escape(document.title)}", escape(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {escape(section.title)}")
        parts += [paragraph for block in section.blocks for paragraph in block_as_markdown(block)]
    return _shown("\n\n".join(parts) + "\n")


def escape(text: str) -> str:
    """Return `text` so that Markdown shows it verbatim, on one line."""
    return re.sub(r"([\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def block_as_markdown(block: Block) -> Iterator[str]:
    """Yield the paragraphs of a block as Markdown."""
    match block:
        case Table():
            yield from _table(block)
        case Figure():
            yield f"**{block.number}** (drawn in report.html). {escape(block.caption)}"
            yield "\n".join(f"- {escape(panel.alt)}" for panel in block.panels)
        case Pictures():
            yield f"**{block.number}** (shown in report.html). {escape(block.caption)}"
        case Alarms():
            yield from _alarms(block)
        case Facts():
            yield "\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in block.rows)
        case Paragraph():
            yield f"> **{escape(block.callout)}.** {escape(block.text)}" if block.callout else escape(block.text)
        case KeyPoints():
            yield "\n".join(f"- {escape(sentence)}" for sentence in block.sentences)
        case Code():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
            yield f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}"


def _table(table: Table) -> Iterator[str]:
    header = [escape(_with_group(column)) for column in table.columns]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    is_text = [column.text for column in table.columns]
    rule = [
        f":{'-' * (width - 1)}" if text else f"{'-' * (width - 1)}:"
        for width, text in zip(widths, is_text, strict=True)
    ]
    if table.title:
        yield f"### {escape(table.title)}"
    yield f"**{table.number}.** {escape(' '.join([table.caption, *_long_groups(table)]))}"
    yield "\n".join(_line(cells, widths, is_text) for cells in (header, rule, *rows))


def _with_group(column: Column) -> str:
    short = column.group and len(column.group) <= LONGEST_GROUP
    return f"{column.group}: {column.title}" if short else column.title


def _long_groups(table: Table) -> Iterator[str]:
    """Yield, as sentences for the caption, the group headers that would make a column too wide."""
    for group in dict.fromkeys(column.group for column in table.columns if len(column.group) > LONGEST_GROUP):
        titles = [column.title for column in table.columns if column.group == group]
        yield f"{listed(titles)}: {group}."


def _line(cells: Sequence[str], widths: Sequence[int], is_text: Sequence[bool]) -> str:
    columns = zip(cells, widths, is_text, strict=True)
    return f"| {' | '.join(cell.ljust(width) if text else cell.rjust(width) for cell, width, text in columns)} |"


def _cell(cell: Cell) -> str:
    value = f"{ICONS[cell.status]} {escape(cell.text)}" if cell.status else escape(cell.text)
    value = f"**{value}** ★" if cell.best else value
    value = f"{value} {ICONS['warn']} {escape(cell.doubt)}" if cell.doubt else value
    small = escape(cell.small.replace("\n", "; "))
    return f"{value} ({small})" if value and small else value or small


def _alarms(alarms: Alarms) -> Iterator[str]:
    for card in alarms.cards:
        yield f"### {escape(card.title)}"
        yield "\n".join(
            f"- {ICONS[alarm.status]} **{alarm.status}** {escape(alarm.name)}: {escape(alarm.reason)}"
            for alarm in sorted(card.alarms, key=lambda alarm: STATUSES.index(alarm.status))
        )
