"""The record that makes the numbers of an evaluation comparable, as the evaluation wrote it."""

from __future__ import annotations

from pydantic import Field

from nofrost.report.measured import Measured


class Protocol(Measured):
    """The key ``protocol`` of ``evaluate-adversarial/record.json``: on what and by what the numbers were computed."""

    suite: str
    suite_sha256: str
    samples: int = Field(ge=0)
    indices_sha256: str
    data_sha256: str
    seeds: dict[str, int]
    batch_size: int = Field(ge=1)
    dtype: str
    tf32: bool
    autocast: bool
    deterministic: bool
    devices: tuple[str, ...] = Field(min_length=1)
    versions: dict[str, str]


class EvaluationRecord(Measured):
    """``evaluate-adversarial/record.json``; evaluations of earlier versions have no protocol."""

    protocol: Protocol | None = None
