"""What the gate decides: whether a study's best run takes the place of the champion, and each reason with numbers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from nofrost.config import GateSpec
from nofrost.results.common import Result

Decision = Literal["promote", "keep"]
CriterionName = Literal["evaluations", "alarms", "images", "worst-case", "clean", "ood", "calibration"]


class Comparison(Result):
    """A challenger beside a champion on the same images.

    Args:
        challenger, champion: accuracies in [0, 1], or calibration errors in [0, 1].
        difference: of the first minus the second.
        low, high: of the interval of the difference at `confidence`.
        p_value: of the exact McNemar test; None where what is compared are no counts.
        images: on which both were measured.
        confidence: of the interval, after sharing out over the runs that the challenger was chosen from.
    """

    challenger: float = Field(ge=0, le=1)
    champion: float = Field(ge=0, le=1)
    difference: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    p_value: float | None = Field(ge=0, le=1)
    images: int = Field(ge=1)
    confidence: float = Field(gt=0, lt=1)

    def __str__(self) -> str:
        difference, low, high = (f"{100 * value:+.1f}" for value in (self.difference, self.low, self.high))
        test = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        values = f"{100 * self.challenger:.1f} % against the champion's {100 * self.champion:.1f} %"
        return f"{values}, {difference} points ({low} to {high}){test}"


class Criterion(Result):
    """One of the conditions that a challenger has to meet.

    Args:
        margin: the gain that was asked for, or the loss that is allowed, as a share of images; None where none applies.
        comparison: with the champion; None where nothing was compared.
        reason: of `met`, beside the numbers of the comparison.
    """

    name: CriterionName
    met: bool
    margin: float | None
    comparison: Comparison | None
    reason: str

    @property
    def sentence(self) -> str:
        """The numbers and the reason."""
        return f"{self.comparison}: {self.reason}" if self.comparison else self.reason


class Contender(Result):
    """A run that is or wants to be the champion.

    Args:
        run: id of the pipeline's run; empty for the run that the gate is a part of.
    """

    run: str
    recipe: str
    seed: int = Field(ge=0)

    @property
    def name(self) -> str:
        """The recipe and seed, such as ``sat/seed-0``."""
        return f"{self.recipe}/seed-{self.seed}"


class PassedOver(Result):
    """A run of the study that could not be the challenger, and why."""

    run: str
    reason: str


class GateMetrics(Result):
    """``gate/gate.json``.

    Args:
        study: its name.
        decision: ``promote`` only if every criterion is met.
        reason: one sentence.
        policy: of the study.
        challenger: the best run of the study.
        champion: None if there was none.
        runs: number of runs that the challenger was chosen from.
        passed_over: the runs that were not among them.
        data_sha256, indices_sha256: of the dataset and of the images in its test split.
    """

    study: str
    decision: Decision
    reason: str
    policy: GateSpec
    challenger: Contender
    champion: Contender | None
    runs: int = Field(ge=1)
    passed_over: tuple[PassedOver, ...]
    criteria: tuple[Criterion, ...] = Field(min_length=1)
    data_sha256: str
    indices_sha256: str

    @model_validator(mode="after")
    def _decision_follows_from_criteria(self) -> Self:
        if (self.decision == "promote") != all(criterion.met for criterion in self.criteria):
            raise ValueError(f"the decision {self.decision} does not follow from the criteria: run the gate again")
        return self
