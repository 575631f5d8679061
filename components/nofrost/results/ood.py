"""What evaluate-ood writes: accuracy, calibration and detection on corrupted images and further test sets."""

from collections.abc import Collection
from typing import Literal, Self

from pydantic import Field, model_validator

from nofrost.config import Baseline
from nofrost.config.corruption_families import COMMON, averaged
from nofrost.results.common import Proportion, Result


class ReliabilityBin(Result):
    """Images whose confidence lies in one bin: their number, mean confidence and accuracy, both in [0, 1]."""

    count: int = Field(ge=1)
    confidence: float = Field(ge=0, le=1)
    accuracy: float = Field(ge=0, le=1)


class Calibration(Result):
    """How far confidence is from accuracy: the expected calibration error in [0, 1], with 15 bins of equal width (Guo
    et al. 2017), its 95 % interval by bootstrap over images, and the bins that are not empty, from low confidence to
    high. Confidence is the probability of the predicted class."""

    error: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    bins: tuple[ReliabilityBin, ...] = Field(min_length=1)


class Answers(Proportion):
    """Accuracy on some images, top-5 accuracy (null among five classes or fewer), and calibration."""

    top5: Proportion | None
    calibration: Calibration


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


def averaging_of(corruptions: Collection[str]) -> str:
    """Return what the mean accuracy over these corruptions is of, as metrics state it."""
    counted = averaged(corruptions)
    if len(counted) == len(corruptions):
        return "unweighted mean over all corruptions and severities"
    return f"unweighted mean over {len(counted)} of the {len(COMMON)} common corruptions, at all severities"


class CorruptionError(Result):
    """Mean corruption errors relative to a baseline's, 1 being as many errors as the baseline has (printed as 100 %).

    Attributes:
        mce: mean over the 15 corruptions of the error rate over the baseline's (Hendrycks & Dietterich 2019, §4.1).
        relative_mce: the same of what the error rate rises by from clean images to corrupted ones.
    """

    mce: float
    relative_mce: float
    baseline: Baseline


class TestSetAccuracy(Answers):
    """Answers on a further test set, beside those on clean images of the dataset's test split.

    Attributes:
        name: as its source calls it.
        data_sha256, indices_sha256: checksums of its images and indices.
        classes: how many classes the answer is among.
        clean: accuracy on the images of the test split that are of these classes, with the same rule of answering.
        drop: `clean` minus the accuracy here, and its 95 % interval; the images are taken as independent.
        effective_robustness: accuracy here minus what published models of this clean accuracy have (Taori et al. 2020);
            null where no line through published models is known.
        shape_bias: of the answers that name the shape or the texture of an image, those that name the shape (Geirhos et
            al. 2019); null for sets without textures.
    """

    __test__ = False  # the name is no test class of pytest

    name: str
    data_sha256: str
    indices_sha256: str
    classes: int = Field(ge=2)
    clean: Proportion
    drop: float = Field(ge=-1, le=1)
    drop_low: float = Field(ge=-1, le=1)
    drop_high: float = Field(ge=-1, le=1)
    effective_robustness: float | None
    shape_bias: Proportion | None


class CorruptedSet(MeanAccuracy):
    """Accuracy on a published set of corrupted images, with the keys of :class:`OodMetrics`."""

    later_keys = ("further_means",)

    name: str
    data_sha256: str
    corruptions: dict[str, CorruptionAccuracy] = Field(min_length=1)
    averaging: str
    further_means: dict[str, MeanAccuracy] = Field(default={})
    corruption_error: CorruptionError | None
    calibration: Calibration


class Detection(Result):
    """How well a score tells clean test images from outliers: the area under the ROC curve in [0, 1], its 95 % interval
    (DeLong et al. 1988), and the share of outliers above the threshold that 95 % of the clean images reach."""

    auroc: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    fpr95: float = Field(ge=0, le=1)


class OutlierSet(Result):
    """A set of images of no class of the dataset, by two scores: the largest probability (Hendrycks & Gimpel 2017) and
    the negative free energy, the logarithm of the summed exponentials of the logits (Liu et al. 2020)."""

    name: str
    data_sha256: str
    indices_sha256: str
    samples: int = Field(ge=1)
    max_softmax: Detection
    energy: Detection


class OodMetrics(Result):
    """``metrics.json`` of evaluate-ood. Further sets are no part of its mean.

    Attributes:
        averaging: what the mean is over: the common corruptions, or all where none of them was measured.
        further_means: those over the corruptions that the mean leaves out, by family.
        mean_accuracy, mean_low, mean_high: null without corruptions, as is `corrupted_calibration`, which is of all
            corrupted images together.
    """

    last_keys = ("mean_accuracy", "mean_low", "mean_high")
    later_keys = ("further_means",)

    kind: Literal["ood"]
    title: str
    samples: int
    seed: int
    clean: Answers
    corruptions: dict[str, CorruptionAccuracy]
    corruption_error: CorruptionError | None
    corrupted_calibration: Calibration | None
    averaging: str
    further_means: dict[str, MeanAccuracy] = Field(default={})
    test_sets: dict[str, TestSetAccuracy]
    corrupted_sets: dict[str, CorruptedSet]
    outlier_sets: dict[str, OutlierSet]
    indices_sha256: str
    mean_accuracy: float | None = Field(ge=0, le=1)
    mean_low: float | None = Field(ge=0, le=1)
    mean_high: float | None = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _mean_is_of_corruptions(self) -> Self:
        if bool(self.corruptions) != (self.mean is not None):
            raise ValueError("corruptions and their mean do not fit each other: evaluate again")
        if self.averaging != (expected := averaging_of(self.corruptions)):
            raise ValueError(f"the mean is the {self.averaging!r}, and not the {expected!r}: evaluate again")
        return self

    @property
    def mean(self) -> MeanAccuracy | None:
        """Mean accuracy over corruptions (`averaging` says which) and severities; None without corruptions."""
        if self.mean_accuracy is None or self.mean_low is None or self.mean_high is None:
            return None
        return MeanAccuracy(mean_accuracy=self.mean_accuracy, mean_low=self.mean_low, mean_high=self.mean_high)

    @property
    def further_sets(self) -> list[str]:
        """The names of all test sets, of whatever kind, sorted."""
        return sorted([*self.test_sets, *self.corrupted_sets, *self.outlier_sets])
