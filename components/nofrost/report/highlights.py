"""``highlights.json``: the parts of a report that a gallery of studies shows, as blocks of the document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from nofrost.config import load_printed
from nofrost.errors import UserError, shortened
from nofrost.files import read_json, write_json
from nofrost.report.document import Block, Document, Figure, KeyPoints, Pictures, Section, Table
from nofrost.report.figures import fault_of_svg
from nofrost.report.runs import Collected

HIGHLIGHTS = "highlights.json"
_KINDS: Mapping[str, Any] = {kind.kind: kind for kind in get_args(Block)}
# In the order in which one of them is looked for.
_WITH_PICTURES = ("examples", "fooling", "corruptions", "augmentation")
# As every image of a report begins.
_PICTURE = "data:image/"


@dataclass(frozen=True)
class Highlights:
    """What a gallery shows of a study.

    Attributes:
        numbers: tables, figures and claims beside the printed numbers; the conclusions of a study without these.
        figures: of the sections that show what a printed figure shows.
        pictures: images before and after an attack, or under corruptions.
    """

    numbers: Sequence[Block]
    figures: Sequence[Block]
    pictures: Sequence[Block]


def highlights(document: Document, collected: Collected) -> Highlights:
    """Return the highlights of the report of a study."""
    printed = _section(document, "printed")
    if printed is not None:
        numbers = printed.blocks
        shown = {load_printed(name).section for name in collected.study.printed} - {"", "printed"}
        figures = [block for key in sorted(shown) for block in _blocks(document, key, Figure)]
    else:
        numbers = list(_blocks(document, "overview", KeyPoints))
        figures = list(_blocks(document, "tradeoff", Figure))
    pictures = [block for key in _WITH_PICTURES for block in _blocks(document, key, Pictures)]
    return Highlights(numbers, figures, pictures[:1])


def _section(document: Document, key: str) -> Section | None:
    return next((section for section in document.sections if section.key == key), None)


def _blocks(document: Document, key: str, kind: type[Block]) -> Iterator[Block]:
    """Yield the blocks of a kind of the sections of this key: there is one for each suite that they are about."""
    for section in document.sections:
        if section.key == key or section.key.startswith(f"{key}-"):
            yield from (block for block in section.blocks if isinstance(block, kind))


def write_highlights(path: Path, shown: Highlights) -> None:
    """Write the highlights as JSON."""
    write_json(path, {name: [_as_json(block) for block in blocks] for name, blocks in vars(shown).items()})


def read_highlights(path: Path) -> Highlights:
    """Return the highlights in a file.

    Raises:
        UserError: the file is missing or damaged, has another form, or a page would load or run something of it.
    """
    values = read_json(path)
    try:
        shown = Highlights(**{name: [_block(value) for value in values[name]] for name in Highlights.__annotations__})
    except (KeyError, TypeError, AttributeError, ValidationError):
        raise UserError(f"{path} does not hold the highlights of a report: write the report again") from None
    for name, blocks in vars(shown).items():
        for number, block in enumerate(blocks):
            if fault := _fault(block):
                raise UserError(f"{path}: {name}.{number}: {fault}: write the report again")
    return shown


def _fault(block: Block) -> str:
    """Return why a page cannot show a block; empty if it can."""
    match block:
        case Table():
            if not block.columns:
                return "the table has no columns"
            for number, row in enumerate(block.rows):
                if len(row) != len(block.columns):
                    return f"rows.{number} of the table has {len(row)} cells for {len(block.columns)} columns"
        case Figure():
            for number, panel in enumerate(block.panels):
                if fault := fault_of_svg(panel.svg):
                    return f"panels.{number}.svg is no drawing of a report ({fault})"
        case Pictures():
            for title, pictures in block.rows:
                if not all(picture.source.startswith(_PICTURE) for picture in pictures):
                    return f"an image in the row {shortened(title)} is not inside the file"
    return ""


def _as_json(block: Block) -> dict[str, Any]:
    return {"kind": block.kind, **asdict(block)}


def _block(values: dict[str, Any]) -> Block:
    fields = {key: value for key, value in values.items() if key != "kind"}
    block: Block = TypeAdapter(_KINDS[values["kind"]]).validate_python(fields)
    return block
