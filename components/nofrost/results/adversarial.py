"""What evaluate-adversarial writes: accuracies under attacks, curves, alarms, and a record of how they came about."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nofrost.config import AttackSpec, EvaluationView, Threat
from nofrost.config.base import LaterKeys
from nofrost.config.model import MixtureInference
from nofrost.results.common import Proportion, Record, Result
from nofrost.results.properties import BatchNormStatistics, FoolingImages, PropertySummary, WeightNorms

Status = Literal["pass", "warn", "fail"]
STATUSES: tuple[Status, ...] = ("fail", "warn", "pass")
"""The statuses of alarms, the worst first."""


class Alarm(Result):
    """The outcome of one check that an accuracy is not an artefact of a weak attack: ``pass``, ``warn`` (look again) or
    ``fail`` (do not trust the numbers), and the reason."""

    name: str
    status: Status
    reason: str


class StepsPoint(Proportion):
    """Accuracy under an attack with this number of steps."""

    steps: int = Field(ge=0)


class StepsCurve(Result):
    """Accuracy against attack steps, and whether it has stopped falling."""

    attack: str
    points: tuple[StepsPoint, ...] = Field(min_length=1)
    converged: bool
    slope_reason: str


class BudgetPoint(Proportion):
    """Accuracy in a ball of size `value` (in pixels of [0, 1], written as `eps`), `multiple` of the threat's budget.

    Where the whole pixel range is no multiple of the budget (an l2 one, or zero), `multiple` is ``unbounded``; every
    ball that holds the whole pixel range is `unbounded`.
    """

    eps: str
    multiple: str
    value: float = Field(ge=0)
    norm: str
    unbounded: bool


class BudgetCurve(Result):
    """Accuracy against the size of the ball."""

    attack: str
    points: tuple[BudgetPoint, ...] = Field(min_length=1)


class AttackUse(LaterKeys, AttackSpec):
    """An attack of a suite with its settings; `cumulative` where it ran only on images that survived all attacks before
    it, and how many `images` it was measured on, None for all."""

    later_keys: ClassVar[tuple[str, ...]] = ("images",)

    cumulative: bool
    images: int | None = Field(default=None, ge=1)


class MixtureAccuracy(Result):
    """Accuracies of one mixture of a mixture-BN model's branches: on clean images and under attacks that see it.

    Attributes:
        inference: where the branches are averaged; `share` of the layers that average, null unless it is ``random``.
        weight: γ, of the adversarial branch.
        accuracy: by condition: ``clean``, each of the suite's branch attacks, and ``worst-case`` over these.
    """

    inference: MixtureInference
    weight: float = Field(ge=0, le=1)
    share: float | None = Field(ge=0, le=1)
    accuracy: dict[str, Proportion]


class GeneralisationGap(Result):
    """Answers to images of the training split without augmentation, and the generalisation gap.

    Attributes:
        cross_entropy: of the training images, in nats.
        gap: `accuracy` minus that on the clean test images, and its 95 % interval (Newcombe 1998); the images are taken
            as independent.
        loss_gap: mean cross-entropy of the clean test images minus that of the training images; null where one has none
            that is finite.
        indices_sha256: of the indices of the images in the training split.
    """

    accuracy: Proportion
    cross_entropy: PropertySummary
    gap: float = Field(ge=-1, le=1)
    gap_low: float = Field(ge=-1, le=1)
    gap_high: float = Field(ge=-1, le=1)
    loss_gap: float | None
    indices_sha256: str


class AdversarialMetrics(Result):
    """``metrics.json`` of evaluate-adversarial.

    Args:
        subset: whether the suite's `max_images` excluded images.
        attacks: of the suite, by the name they are reported under.
        accuracy: by condition: ``clean``, every attack, ``worst-case``; of a mixture-BN model also
            ``through-clean-branch`` and ``through-adversarial-branch``.
        not_converged: conditions whose accuracy more attack steps would lower.
        branches: accuracies of each branch of a mixture-BN model by condition; empty for other models.
        properties: of each image, by name.
        cross_entropy: in nats, over all images, by condition: ``clean`` and every attack; empty unless asked for.
        top_5: accuracy by the same conditions, an image being right when its class is among the five likeliest; empty
            for a model of 5 classes or fewer too.
        training: null unless asked for.
        mixtures: of a mixture-BN model, in the suite's order.
        fooling: images made from noise; null unless asked for.
        indices_sha256: of the indices of the images in the dataset's test split.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("cross_entropy", "top_5", "training", "mixtures", "fooling")

    kind: Literal["adversarial"]
    title: str
    protocol: str
    samples: int
    seed: int
    threat: Threat
    subset: bool
    cascade: bool
    attacks: dict[str, AttackUse]
    accuracy: dict[str, Proportion]
    not_converged: tuple[str, ...]
    branches: dict[str, dict[str, Proportion]]
    steps_curve: StepsCurve | None
    budget_curve: BudgetCurve | None
    alarms: tuple[Alarm, ...]
    properties: dict[str, PropertySummary]
    weight_norms: WeightNorms | None
    batch_norm: tuple[BatchNormStatistics, ...]
    indices_sha256: str
    cross_entropy: dict[str, PropertySummary] = Field(default={})
    top_5: dict[str, Proportion] = Field(default={})
    training: GeneralisationGap | None = None
    mixtures: tuple[MixtureAccuracy, ...] = ()
    fooling: FoolingImages | None = None

    @model_validator(mode="after")
    def _all_on_the_same_images(self) -> Self:
        for name, proportion in self.accuracy.items():
            expected = (self.attacks[name].images if name in self.attacks else None) or self.samples
            if proportion.total != expected:
                raise ValueError(f"{name} was measured on {proportion.total} images, not {expected}: evaluate again")
        return self


class TransferMetrics(Result):
    """``metrics.json`` of a transfer: accuracies of each target (inner key) on images that were made against each
    source (outer key). A model with branches stands here as deployed and once for each branch."""

    kind: Literal["transfer"]
    attack: dict[str, Any]
    samples: int
    models: tuple[str, ...]
    clean: dict[str, Proportion]
    accuracy: dict[str, dict[str, Proportion]]
    indices_sha256: str


class ShardMetrics(Result):
    """``metrics.json`` of a shard of an evaluation, written ``index/count``, which is measured but not yet merged."""

    kind: Literal["adversarial", "ood"]
    title: str
    shard: str
    samples: int
    seed: int
    batch_size: int
    indices_sha256: str


class Protocol(Result):
    """The key ``protocol`` of an evaluation's record: the images, settings, devices and versions behind the numbers.

    It contains no time, host name or path, so that equal work on equal machines gives equal records.

    Args:
        suite_sha256: of the suite's settings.
        view: how stored images were resized and cropped; None: they were evaluated as they are stored.
        batch_statistics: ``batch`` where batch norms took those of the test images, so that the numbers belong to this
            order and `batch_size`; None: their running statistics.
        threat: None for a suite without attacks.
        indices_sha256, data_sha256: of the images' indices in the test split, and of the dataset.
        batch_size: images measured at once.
        reduced_batch_sizes: by measurement, the smaller batches of those that ran out of memory.
        tf32, autocast, deterministic: what torch was set to.
        device, devices: the kind (cpu, cuda), and the names of all that took part.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("batch_statistics",)

    suite: str
    suite_sha256: str
    view: EvaluationView | None
    threat: Threat | None
    samples: int = Field(ge=0)
    indices_sha256: str
    data_sha256: str
    seeds: dict[str, int]
    batch_size: int = Field(ge=1)
    reduced_batch_sizes: dict[str, int]
    dtype: str
    tf32: bool
    autocast: bool
    deterministic: bool
    device: str
    devices: tuple[str, ...] = Field(min_length=1)
    versions: dict[str, str]
    batch_statistics: Literal["batch"] | None = None


class EvaluationRecord(Record):
    """``record.json`` of an evaluation, or of a transfer, on all images of a `split`."""

    split: str
    protocol: Protocol


class ShardRecord(EvaluationRecord):
    """``record.json`` of a shard: that of the whole, and which shard it is."""

    shard: str
