"""What an evaluation asks of a further test set, of whatever kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.evaluate.images import CorruptedTestImages, TestImages
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine, Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.ood.answers import AnswerRule
from nofrost.evaluate.ood.clean_answers import CleanAnswers, rule_of
from nofrost.results import CorruptedSet, OutlierSet, TestSetAccuracy

Kind = Literal["test_sets", "corrupted_sets", "outlier_sets"]
T = TypeVar("T", TestImages, CorruptedTestImages)


@dataclass(frozen=True)
class FurtherTestSet(ABC, Generic[T]):
    """A further test set of a suite: what is measured on it, and what is written of it.

    Attributes:
        kind: the key of :class:`~nofrost.results.OodMetrics` under which its result stands.
        name: in the suite.
    """

    kind: ClassVar[Kind]

    name: str
    images: T
    model: EvaluatedModel

    @property
    def rule(self) -> AnswerRule:
        """How the model is asked about its images."""
        return rule_of(self.images.manifest)

    def check(self, clean: Sample) -> None:
        """Check that the `clean` test images, which are evaluated beside it, have some of its classes.

        Raises:
            UserError: they have not.
        """
        if not (self.rule.labels(clean.labels) >= 0).any():
            raise UserError(
                f"none of the {len(clean):,} test images that are evaluated has a class of test set {self.name}, so "
                "there is nothing to compare it with: raise max_images, or leave the test set out"
            )

    @abstractmethod
    def measurements(self) -> list[Measurement]:
        """Return every measurement on its images once."""

    @abstractmethod
    def result(self, engine: Engine, clean: CleanAnswers) -> TestSetAccuracy | CorruptedSet | OutlierSet:
        """Return what ``metrics.json`` says of it, when its measurements are in the engine's cache."""

    @abstractmethod
    def arrays(self, engine: Engine) -> dict[str, NDArray[Any]]:
        """Return its arrays in ``flags.npz``, when its measurements are in the engine's cache."""
