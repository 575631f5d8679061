"""Results as Markdown: a page for each study, and one that lists every claim of the papers with its verdicts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nofrost.config import find_paper, load_printed, printed_names
from nofrost.errors import UserError, printable
from nofrost.files import write_text
from nofrost.report import text
from nofrost.report.cells import ICONS
from nofrost.report.document import Figure, Pictures, Section, Table, numbered
from nofrost.report.figures import standalone_svg
from nofrost.report.gallery.finished import FinishedStudy, papers_of
from nofrost.report.gallery.page import counted, facts_of_run
from nofrost.report.gallery.reported import JudgedClaim
from nofrost.report.render import block_as_markdown, escape

WIDTH = 120
# The first line of each page: only such pages are written anew, or deleted.
MARK = "<!-- Written by `nofrost gallery`: changes are lost. -->"
_LIMITS = (
    "The size of each study stands beside its claims. At the sizes tiny and small most networks are narrow, images are "
    "some thousand and epochs few, where the papers have all of CIFAR-10 or ImageNet: each page lists the settings in "
    "which its trainings and attacks differ. A small study can show whether the sign of an effect is there when "
    "everything else is equal, and that every row and column of a table can be run by its name. It cannot show that a "
    "printed number is right or wrong, how large an effect is at the paper's size, or that an effect which is missing "
    "here is missing there. A verdict *within the noise* rests on a margin whose 95 % interval, over seeds and test "
    "images, has zero in it. With one seed it is over test images alone, and another seed may turn round more verdicts "
    "than those that are marked."
)
_VERDICTS = (
    "*Holds* and *does not hold* are decided by the numbers of the study. *Not expected at this size*: the effect is "
    "known to need the paper's size. *Not measured*: a row was not run, or a column is not measured. *Not decided by "
    "numbers*: the claim is about what a figure looks like."
)
# What would begin a list, a heading or a quotation if it began a line.
_MARKUP = re.compile(r"(?:[-+>#]|\d+[.)])(?:\s|$)")


def write_result_pages(studies: Sequence[FinishedStudy], folder: Path) -> list[Path]:
    """Write ``README.md``, a page for each study and its drawings into a folder; return the pages.

    Pages of studies that are not among them, and drawings that are no longer on a page, are deleted if this function
    wrote them.

    Raises:
        UserError: a page or a drawing would replace a file that was not, or the page of a study that of all claims.
    """
    for study in studies:
        if study.name.casefold() == "readme":
            raise UserError(
                f"{study.folder} is the report of a study named {study.name}, whose page would replace README.md, the "
                "page of all claims: give the study another name, and write the report again"
            )
    pages = {"README.md": _index(studies)}
    drawings: dict[str, str] = {}
    for study in studies:
        pages[f"{study.name}.md"] = _page(study, drawings)
    old_pages = {path for path in folder.glob("*.md") if _is_ours(path)}
    of_studies = old_pages - {folder / "README.md"}
    old_drawings = {path for path in (folder / "figures").glob("*.svg") if _is_drawing_of(path, of_studies)}
    new_pages = {folder / name: content for name, content in pages.items()}
    new_drawings = {folder / "figures" / name: svg for name, svg in drawings.items()}
    for path in (*new_pages, *new_drawings):
        if path.exists() and path not in old_pages | old_drawings:
            raise UserError(f"{path} was not written by `nofrost gallery`: move it, or choose another folder")
    # A page says that drawings of its study are ours: it is written before them and deleted after them.
    for path in (*(old_drawings - new_drawings.keys()), *(old_pages - new_pages.keys())):
        path.unlink()
    for path, content in (new_pages | new_drawings).items():
        write_text(path, printable(content, keep="\n"))
    return [folder / name for name in pages]


def _is_ours(path: Path) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(MARK)


def _is_drawing_of(path: Path, pages: Collection[Path]) -> bool:
    """Return whether a file has the name of a drawing of one of these pages."""
    study, _, number = path.stem.rpartition("-figure-")
    return number.isdecimal() and path.parent.with_name(f"{study}.md") in pages


def _page(study: FinishedStudy, drawings: dict[str, str]) -> str:
    """Return the page of a study, and add its drawings to `drawings` by file name."""
    blocks = [block for block in study.highlights.numbers if not isinstance(block, Pictures)]
    (section,) = numbered([Section(study.name, study.title, study.title, [*blocks, *study.highlights.figures])])
    parts = [f"# {escape(study.title)}"]
    parts.append(escape(f"{study.place or 'Study'}: `{study.name}`. {study.config.note}").replace(r"\`", "`"))
    parts.append("\n".join(f"- **{name}**: {escape(value)}" for name, value in facts_of_run(study)))
    for block in section.blocks:
        if isinstance(block, Figure):
            # _is_drawing_of knows them by this name.
            name = f"{study.name}-{block.number.lower().replace(' ', '-')}.svg"
            drawings[name] = standalone_svg([panel.svg for panel in block.panels], block.legend)
            words = " ".join(panel.alt for panel in block.panels)
            parts += [f"![{escape(words)}](figures/{name})", f"**{block.number}.** {escape(block.caption)}"]
            continue
        if isinstance(block, Table) and block.title:
            parts.append(f"**{escape(block.title)}**")
            block = replace(block, title="")
        parts += block_as_markdown(block)
    return _as_page(parts)


def _index(studies: Sequence[FinishedStudy]) -> str:
    parts = ["# What held, and what did not", _LIMITS, _VERDICTS]
    all_counts: list[list[str]] = []
    for key, paper in papers_of(studies).items():
        of_paper = [study for study in studies if study.paper == key]
        words = ", ".join(count.words for count in counted(of_paper))
        all_counts.append([f"[{escape(paper.reference)}](#{_anchor(paper.reference)})", str(len(of_paper)), words])
    parts.append("\n".join(_rows(["paper", "studies", "claims"], all_counts)))
    for key in papers_of(studies):
        if key:
            parts += _of_paper(key, [study for study in studies if study.paper == key])
    others = [study for study in studies if not study.claims]
    if others:
        parts += ["## Other studies", "\n".join(f"- [{escape(each.title)}]({each.name}.md)" for each in others)]
    return _as_page(parts)


def _of_paper(key: str, studies: Sequence[FinishedStudy]) -> Iterator[str]:
    """Yield the claims of a paper, table by table, and those of its tables and figures that no study has run."""
    yield f"## {find_paper(key).reference}"
    yield f"{escape(find_paper(key).title)} (`{key}`)."
    run: set[str] = set()
    rows = []
    for study in studies:
        for name, claims in study.claims.items():
            run.add(name)
            place = f"[{escape(load_printed(name).name)}]({study.name}.md)"
            rows += [[place, escape(claim.text), _verdict(claim), _size(study)] for claim in claims]
    yield "\n".join(_rows(["study", "claim", "verdict", "size"], rows))
    missing = [load_printed(name).name for name in printed_names(key) if name not in run]
    if missing:
        yield f"Not run: {text.listed(missing)}."


def _anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def _verdict(claim: JudgedClaim) -> str:
    icon = {"holds": f"{ICONS['pass']} ", "does not hold": f"{ICONS['fail']} "}.get(claim.verdict, "")
    return f"{icon}{claim.words}"


def _size(study: FinishedStudy) -> str:
    return f"{study.config.size or ''}, {text.seeds(study.config.seeds)}".strip(", ")


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def _as_page(parts: Sequence[str]) -> str:
    lines = [wrapped for part in [MARK, *parts] for line in [*part.split("\n"), ""] for wrapped in _wrapped(line)]
    return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    """Return a line as lines of `WIDTH` characters; rows of tables and headings stay as they are."""
    if len(line) <= WIDTH or line.startswith(("|", "#")):
        return [line]
    indent = "  " if line.startswith("- ") else ""
    first, *rest = textwrap.wrap(
        line, WIDTH - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [first, *(f"{indent}\\{each.strip()}" if _MARKUP.match(each.strip()) else each for each in rest)]
