"""Finished studies: their reports as they lie in folders, read for a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nofrost.config import Paper, Printed, find_paper, load_papers, load_printed
from nofrost.errors import UserError, say
from nofrost.report import text
from nofrost.report.gallery.reported import JudgedClaim, ReportedStudy, read_reported
from nofrost.report.highlights import HIGHLIGHTS, Highlights, read_highlights
from nofrost.report.printed_numbers import Verdict
from nofrost.results import StudyRecord, read_result
from nofrost.stage import RECORD
from nofrost.study_state import RUNNING

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class FinishedStudy:
    """The report of a study.

    Attributes:
        folder: that holds report.html.
        config: the study, as far as it is shown.
        claims: by the id of the printed table or figure that they are about.
        record: what it took, of a run that finished; None where it was not run by `nofrost study run`.
    """

    folder: Path
    config: ReportedStudy
    highlights: Highlights
    claims: dict[str, tuple[JudgedClaim, ...]]
    record: StudyRecord | None

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.config.name

    @property
    def title(self) -> str:
        """Title of the study."""
        return self.config.title

    @property
    def printed(self) -> list[Printed]:
        """The tables and figures that it stands beside."""
        return [load_printed(name) for name in self.claims]

    @property
    def paper(self) -> str:
        """Key of the paper that these are of; empty where there are none."""
        return self.printed[0].paper if self.claims else ""

    @property
    def place(self) -> str:
        """Where the paper printed them, such as ``Xie & Yuille 2020, Table 1``."""
        places = [f"{find_paper(each.paper).reference}, {each.name}" for each in self.printed]
        return "; ".join(places)

    @property
    def judged(self) -> list[JudgedClaim]:
        """All claims, whichever table or figure they are about."""
        return [claim for claims in self.claims.values() for claim in claims]


def find_studies(folders: Iterable[Path]) -> list[FinishedStudy]:
    """Return the finished studies in folders: by paper, then by table and figure as they are numbered.

    A folder is that of a report, of a study (with the report in ``report``), or holds such folders. A report that is
    older than the last run in its folder is left out, with a line on standard error.

    Raises:
        UserError: a folder is missing or holds no report, a report is damaged, two are of one study, or all are left
            out.
    """
    found: dict[str, FinishedStudy] = {}
    left_out: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name the folder of a report, or one with such folders in it")
        reports = list(_reports(folder))
        if not reports:
            raise UserError(f"{folder} holds no report (a folder with {HIGHLIGHTS}): run `nofrost report` again")
        for report in reports:
            study = _read(report)
            if reason := _why_outdated(study):
                if report.resolve() not in left_out:
                    say(f"{report} is left out: {reason}", "warning")
                left_out.add(report.resolve())
                continue
            if (other := found.setdefault(study.name, study)).folder.resolve() != report.resolve():
                raise UserError(f"{other.folder} and {report} are both reports of {study.name}: name one of them")
    if not found and left_out:
        raise UserError("every report is left out: finish the studies with `nofrost study run` first")
    return sorted(found.values(), key=_order)


def _reports(folder: Path) -> Iterator[Path]:
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    for path in (folder, *inner):
        for report in (path, path / "report"):
            if (report / HIGHLIGHTS).is_file() and not (path == folder / "report" and report == path):
                yield report


def _read(report: Path) -> FinishedStudy:
    config, claims = read_reported(report)
    record = _beside(report, RECORD)
    return FinishedStudy(
        folder=report,
        config=config,
        highlights=read_highlights(report / HIGHLIGHTS),
        claims=claims,
        record=read_result(StudyRecord, record) if record else None,
    )


def _beside(report: Path, name: str) -> Path | None:
    """Return a file of the folder that a study was run in; None where there is none."""
    path = report.parent / name
    return path if report.name == "report" and path.is_file() else None


def _why_outdated(study: FinishedStudy) -> str:
    """Return why the report may be older than the last run in its folder; empty if it is not, or none was there."""
    if (record := study.record) is not None:
        path = study.folder.parent / RECORD
        ran = (record.study, record.size, record.seeds)
        reported = (study.name, study.config.size, study.config.seeds)
        if ran != reported:
            return f"it is of {_in_words(*reported)}, and {path} of {_in_words(*ran)}: run the study again"
        if record.finished is None:
            return f"its study has not finished since, as {path} says: run the study again"
    if running := _beside(study.folder, RUNNING):
        return f"a run of its study goes on, or was killed, as {running} says: run the study again"
    return ""


def _in_words(name: str, size: str | None, seeds: Sequence[int]) -> str:
    return ", ".join(filter(None, (name, size and f"size {size}", text.seeds(seeds))))


def _order(study: FinishedStudy) -> tuple[int, str, int, str]:
    papers: Sequence[str] = list(load_papers())
    if not study.claims:
        return len(papers), "", 0, study.name
    first = study.printed[0]
    kind = {"table": "a", "figure": "b"}.get(first.kind, "c")
    return papers.index(first.paper), kind, first.number or 0, study.name


def papers_of(studies: Iterable[FinishedStudy]) -> dict[str, Paper]:
    """Return the papers that studies are about by key, in the order of papers.yaml."""
    used = {study.paper for study in studies}
    return {key: paper for key, paper in load_papers().items() if key in used}
