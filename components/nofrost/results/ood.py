"""What evaluate-ood writes: accuracies on corrupted images."""

from typing import Literal

from pydantic import Field

from nofrost.results.common import Proportion, Result


class MeanAccuracy(Result):
    """A mean accuracy over several corrupted versions of the same images, and its 95 % interval over images."""

    # The values that were averaged come before the mean.
    last_keys = ("mean_accuracy", "mean_low", "mean_high")

    mean_accuracy: float = Field(ge=0, le=1)
    mean_low: float = Field(ge=0, le=1)
    mean_high: float = Field(ge=0, le=1)


class SeverityPoint(Proportion):
    """Accuracy at one severity of a corruption."""

    severity: int


class CorruptionAccuracy(MeanAccuracy):
    """Accuracy under one corruption by severity, and the mean over its severities."""

    severities: tuple[SeverityPoint, ...] = Field(min_length=1)


class TestSetAccuracy(Proportion):
    """Accuracy on a further test set: `name` as its source calls it, and the checksums of its images and indices."""

    __test__ = False  # the name is no test class of pytest

    name: str
    data_sha256: str
    indices_sha256: str


class OodMetrics(MeanAccuracy):
    """``metrics.json`` of evaluate-ood; `averaging` says what its mean is over. `test_sets` are no part of it."""

    kind: Literal["ood"]
    title: str
    samples: int
    seed: int
    clean: Proportion
    corruptions: dict[str, CorruptionAccuracy] = Field(min_length=1)
    averaging: str
    test_sets: dict[str, TestSetAccuracy]
    indices_sha256: str
