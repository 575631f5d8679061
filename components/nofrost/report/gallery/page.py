"""The gallery as one HTML file: studies with figures, verdicts and pictures, filtered by paper without a script."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nofrost.config import Paper
from nofrost.report import text
from nofrost.report.cells import ICONS
from nofrost.report.document import Block, Column, Figure, Section, Table, numbered, with_own_ids
from nofrost.report.gallery.finished import VERDICTS, FinishedStudy, papers_of
from nofrost.report.gallery.reported import JudgedClaim
from nofrost.report.printed_numbers import Verdict
from nofrost.report.render import from_template
from nofrost.results import Status

VERDICT_WORDS: dict[Verdict, tuple[str, str]] = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "not expected at this size": ("not expected at this size", "not expected at this size"),
    "not measured": ("not measured", "not measured"),
    "not decided by numbers": ("not decided by numbers", "not decided by numbers"),
}
"""A verdict as it is said of one claim and of several."""
_STATUS: dict[Verdict, Status] = {"holds": "pass", "does not hold": "fail"}


@dataclass(frozen=True)
class Count:
    """How many claims have a verdict, and how many of them within the noise."""

    verdict: Verdict
    number: int
    in_noise: int

    @property
    def words(self) -> str:
        """Such as "3 hold (1 within the noise)"."""
        noise = f" ({self.in_noise} within the noise)" if self.in_noise else ""
        return f"{self.number} {VERDICT_WORDS[self.verdict][self.number != 1]}{noise}"

    @property
    def key(self) -> str:
        """The class of the style sheet."""
        return self.verdict.replace(" ", "-")

    @property
    def icon(self) -> str:
        """The sign of the verdict."""
        return ICONS[_STATUS[self.verdict]] if self.verdict in _STATUS else "\N{EN DASH}"


@dataclass(frozen=True)
class ListedClaim:
    """A claim as it is listed."""

    text: str
    verdict: str
    status: Status | None


@dataclass(frozen=True)
class Exhibit:
    """A study as the page shows it.

    Attributes:
        label: in the contents of its paper.
        lead: the drawing beside its claims.
        rest: all other blocks, folded.
        facts: on what it was run.
        link: to its report; empty where there is none.
    """

    key: str
    paper: str
    label: str
    kicker: str
    title: str
    note: str
    lead: Block | None
    claims: Sequence[ListedClaim]
    counts: Sequence[Count]
    pictures: Sequence[Block]
    rest: Sequence[Block]
    facts: Sequence[tuple[str, str]]
    link: str


@dataclass(frozen=True)
class Shelf:
    """The studies of a paper, all in all; `paper` is None for those of none."""

    key: str
    name: str
    paper: Paper | None
    studies: Sequence[Exhibit]
    counts: Sequence[Count]


def gallery_page(studies: Sequence[FinishedStudy], folder: Path) -> str:
    """Return the page.

    Args:
        studies: as :func:`find_studies` orders them.
        folder: in which the page will lie, from where its links lead to the reports.
    """
    sections = [_section(study) for study in studies]
    exhibits = [
        _exhibit(study, section.blocks, folder) for study, section in zip(studies, numbered(sections), strict=True)
    ]
    papers: dict[str, Paper | None] = {**papers_of(studies)}
    if any(not study.paper for study in studies):
        papers[""] = None
    shelves = []
    for key, paper in papers.items():
        counts = counted(study for study in studies if study.paper == key)
        shown = [exhibit for exhibit in exhibits if exhibit.paper == (key or "other")]
        shelves.append(Shelf(key or "other", paper.reference if paper else "Other studies", paper, shown, counts))
    return from_template(
        "gallery.html.j2", ("style.css", "gallery.css"), shelves=shelves, studies=len(studies), counts=counted(studies)
    )


def counted(studies: Iterable[FinishedStudy]) -> list[Count]:
    """Return the counts of the verdicts that there are in these studies."""
    claims = [claim for study in studies for claim in study.judged]
    of_verdict = {name: [claim for claim in claims if claim.verdict == name] for name in VERDICTS}
    return [
        Count(name, len(found), sum(claim.in_noise for claim in found)) for name, found in of_verdict.items() if found
    ]


def facts_of_run(study: FinishedStudy) -> list[tuple[str, str]]:
    """Return size and seeds of a study, and what it took."""
    facts = [("Size", study.config.size or ""), ("Seeds", text.seeds(study.config.seeds))]
    if (record := study.record) is not None:
        shared = record.trainings - len(record.trained)
        there = f"; {shared} of {record.trainings} trainings were there already, of other studies or of a run before"
        without = there if shared else ""
        attempts = "1 attempt was" if record.killed == 1 else f"{record.killed} attempts were"
        killed = f"; {attempts} killed, whose time is not counted" if record.killed else ""
        facts += [
            (
                "Time",
                f"{record.processor_minutes:.1f} processor minutes, {record.wall_minutes:.1f} by the clock of a "
                f"machine that may have had other work{without}{killed}",
            ),
            ("Device", record.device),
            ("Versions", ", ".join(f"{name} {version}" for name, version in record.libraries.items())),
            ("Finished", record.finished or ""),
        ]
    return [(name, value) for name, value in facts if value]


def _section(study: FinishedStudy) -> Section:
    shown = study.highlights
    blocks = [*shown.numbers, *shown.figures, *shown.pictures]
    return Section(study.name, study.title, study.title, [with_own_ids(block, study.name) for block in blocks])


def _exhibit(study: FinishedStudy, blocks: Sequence[Block], folder: Path) -> Exhibit:
    pictures = blocks[len(blocks) - len(study.highlights.pictures) :]
    others = blocks[: len(blocks) - len(pictures)]
    lead = next((block for block in others if isinstance(block, Figure)), None)
    page = study.folder / "report.html"
    return Exhibit(
        key=study.name,
        paper=study.paper or "other",
        label=", ".join(each.name for each in study.printed) or study.name,
        kicker=study.place or f"Study {study.name}",
        title=study.title,
        note=study.config.note,
        lead=lead,
        claims=[_claim(claim) for claim in study.judged],
        counts=counted([study]),
        pictures=pictures,
        rest=[block for block in others if block is not lead and not _is_of_claims(block)],
        facts=facts_of_run(study),
        link=quote(os.path.relpath(page, folder)) if page.is_file() else "",
    )


def _is_of_claims(block: Block) -> bool:
    """Return whether a block is the table of claims, which are listed apart."""
    return isinstance(block, Table) and block.columns[0] == Column("claim", text=True)


def _claim(claim: JudgedClaim) -> ListedClaim:
    status = _STATUS.get(claim.verdict)
    return ListedClaim(claim.text, claim.words, "warn" if status and claim.in_noise else status)
