"""What a gallery reads of a report's ``record.json`` and ``metrics.json``: other keys are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from nofrost.config import printed_names
from nofrost.config.base import Name, Schema
from nofrost.config.validation import sentence
from nofrost.errors import UserError, shortened
from nofrost.files import read_json
from nofrost.report.printed_numbers import Verdict, remark_on
from nofrost.report.text import listed
from nofrost.results import Record, read_result
from nofrost.stage import RECORD


class _Shown(Schema):
    model_config = ConfigDict(extra="ignore")


class JudgedClaim(_Shown):
    """A claim of a paper, and what a study says of it."""

    text: str
    verdict: Verdict
    in_noise: bool = Field(strict=True)
    margins: dict[str, float] = Field(default_factory=dict)

    @property
    def words(self) -> str:
        """The verdict, with what is to be said of it."""
        remark = remark_on(self.verdict, self.margins.values(), self.in_noise)
        return f"{self.verdict}{': ' if remark.startswith('it ') else ', '}{remark}" if remark else self.verdict


class ReportedRuns(_Shown):
    """The runs of a study."""

    seed: tuple[int, ...] = Field(min_length=1)


class ReportedStudy(_Shown):
    """The configuration of a study, as far as a gallery shows it."""

    name: Name
    title: str
    note: str = ""
    size: str | None = None
    printed: tuple[str, ...] = ()
    runs: ReportedRuns

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return self.runs.seed


class _Compared(_Shown):
    claims: tuple[JudgedClaim, ...]


class _Metrics(_Shown):
    printed: dict[str, _Compared] = Field(default_factory=dict)


def read_reported(report: Path) -> tuple[ReportedStudy, dict[str, tuple[JudgedClaim, ...]]]:
    """Return the study that a report is of, and its claims by the id of the printed table or figure.

    Raises:
        UserError: a file is missing or damaged, or the two do not fit together; the sentence names file and key.
    """
    record, metrics = report / RECORD, report / "metrics.json"
    study = _checked(ReportedStudy, read_result(Record, record).config, record, "config")
    compared = _checked(_Metrics, read_json(metrics), metrics).printed
    if unknown := sorted(set(study.printed) - set(printed_names())):
        raise UserError(
            f"{record}: config.printed: there is no printed table or figure {shortened(unknown[0])}: write the report "
            "again"
        )
    if set(study.printed) != set(compared):
        raise UserError(
            f"{metrics}: printed has {listed(compared)}, where {record} has {listed(study.printed)}: write the report "
            "again"
        )
    return study, {name: each.claims for name, each in compared.items()}


P = TypeVar("P", bound=_Shown)


def _checked(schema: type[P], values: Mapping[str, Any], path: Path, *key: str) -> P:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        fault = sentence(error, schema, str(path), key=key).removesuffix(": add it")
        raise UserError(f"{fault}: write the report again") from None
