"""The files that the other stages left in a run's folder, as typed values.

Keys that the report does not use are ignored, so that a stage can write more than is shown here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nofrost.config import Threat
from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import read_json

Status = Literal["pass", "warn", "fail"]


class Measured(BaseModel):
    """A part of a file that another stage wrote."""

    model_config = ConfigDict(frozen=True, extra="ignore", arbitrary_types_allowed=True)


class Share(Measured):
    """`correct` of `total` images, their share in [0, 1] and its 95 % Wilson interval from `low` to `high`."""

    correct: int = Field(ge=0)
    total: int = Field(ge=1)
    accuracy: float
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _the_numbers_agree(self) -> Self:
        if not math.isclose(self.accuracy, self.correct / self.total, abs_tol=1e-9):
            raise ValueError(f"accuracy {self.accuracy} is not {self.correct} of {self.total}: evaluate again")
        if not self.low - 1e-9 <= self.accuracy <= self.high + 1e-9:
            raise ValueError(f"accuracy {self.accuracy} is outside {self.low} to {self.high}: evaluate again")
        return self


class StepsPoint(Share):
    """Accuracy under an attack of so many steps."""

    steps: int = Field(ge=0)


class StepsCurve(Measured):
    """Accuracy against attack steps, and whether it has stopped falling."""

    attack: str
    points: tuple[StepsPoint, ...] = Field(min_length=1)
    converged: bool
    slope_reason: str


class BudgetPoint(Share):
    """Accuracy in a ball of size `value` (written as `eps`)."""

    eps: str
    multiple: str
    value: float = Field(ge=0)


class BudgetCurve(Measured):
    """Accuracy against the size of the ball."""

    attack: str
    points: tuple[BudgetPoint, ...] = Field(min_length=1)


class Alarm(Measured):
    """One check that a robust accuracy is not an artefact of a weak attack."""

    name: str
    status: Status
    reason: str


class AttackUse(Measured):
    """An attack of a suite; `cumulative` where it met only images that all attacks before it had left right."""

    cumulative: bool = False


class AdversarialMetrics(Measured):
    """``evaluate-adversarial/metrics.json``; `not_converged` names conditions that more attack steps would lower."""

    kind: Literal["adversarial"]
    title: str
    protocol: str
    samples: int
    seed: int
    threat: Threat
    attacks: dict[str, AttackUse] = {}
    accuracy: dict[str, Share]
    not_converged: tuple[str, ...] = ()
    branches: dict[str, dict[str, Share]] = {}
    steps_curve: StepsCurve | None = None
    budget_curve: BudgetCurve | None = None
    alarms: tuple[Alarm, ...] = ()
    indices_sha256: str

    @model_validator(mode="after")
    def _all_on_the_same_images(self) -> Self:
        for name, share in self.accuracy.items():
            if share.total != self.samples:
                raise ValueError(f"{name} was measured on {share.total} images, not {self.samples}: evaluate again")
        return self


class SeverityPoint(Share):
    """Accuracy at one severity of a corruption."""

    severity: int


class Mean(Measured):
    """A mean accuracy over several corrupted versions of the same images, and its 95 % interval over images."""

    mean_accuracy: float = Field(ge=0, le=1)
    mean_low: float = Field(ge=0, le=1)
    mean_high: float = Field(ge=0, le=1)


class Corruption(Mean):
    """Accuracy under one corruption by severity, and the mean over its severities."""

    severities: tuple[SeverityPoint, ...] = Field(min_length=1)


class OodMetrics(Mean):
    """``evaluate-ood/metrics.json``; its mean is over all corruptions and severities."""

    kind: Literal["ood"]
    title: str
    samples: int
    seed: int
    clean: Share
    corruptions: dict[str, Corruption] = Field(min_length=1)
    indices_sha256: str


M = TypeVar("M", bound=Measured)


def read_measured(schema: type[M], path: Path) -> M:
    """Return the file at `path` as `schema`.

    Raises:
        UserError: the file is missing, or holds something else; the sentence names file and key.
    """
    return _validate(schema, read_json(path), path)


def read_measured_list(schema: type[M], path: Path) -> tuple[M, ...]:
    """Return the list in the file at `path`, each entry as `schema`; raises like :func:`read_measured`."""
    values = read_json(path)
    if not isinstance(values, list):
        raise UserError(f"{path} is not a list: make it again with the stage that wrote it")
    return tuple(_validate(schema, value, path) for value in values)


def _validate(schema: type[M], value: Any, path: Path) -> M:
    try:
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        raise UserError(sentence(error, schema, str(path))) from None
