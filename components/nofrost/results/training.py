"""Results of the train stage: metrics, curves, timing, and a record of what its steps did."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, model_validator

from nofrost.errors import shortened
from nofrost.results.common import Proportion, Record, Result


class Selection(Result):
    """Accuracy on the selection split; `attacked` is None for recipes that are trained on clean images alone.

    The `score` in [0, 1], which selects the best checkpoint, is a weighted average of the two accuracies. Where the
    dataset has no selection split (selection_share 0), both are None, the score is 0, and the last epoch is kept.
    """

    clean: Proportion | None
    attacked: Proportion | None
    score: float


class CatastrophicOverfitting(Result):
    """A fall of attacked selection accuracy after `epoch`, while accuracy on the training adversary held or rose."""

    epoch: int
    before: float
    after: float
    train_before: float
    train_after: float


class RobustOverfitting(Result):
    """Attacked selection accuracy at its best (after `epoch`) and at the end, and the same for training accuracy."""

    epoch: int
    best: Proportion
    last: Proportion
    train_best: float
    train_last: float


class Overfitting(Result):
    """The signs of overfitting in the curves of a training; None where there is none."""

    catastrophic: CatastrophicOverfitting | None
    robust: RobustOverfitting | None


class StoppedEarly(Result):
    """The epoch after which a guard ended a training that was to have `epochs`, and the reason."""

    epoch: int
    epochs: int
    reason: str


class PhaseMetrics(Result):
    """How many epochs a phase had, and how many parameters it trained."""

    epochs: int
    trained_parameters: int


class TrainMetrics(Result):
    """``train/metrics.json``. `best_epoch` is that of the kept checkpoint, and `selection` what it reached."""

    recipe: str
    seed: int
    parameters: int
    trained_parameters: int
    phases: dict[str, PhaseMetrics]
    epochs: int
    best_epoch: int
    selection: Selection
    training_images: int
    overfitting: Overfitting
    stopped_early: StoppedEarly | None


class Epoch(Result):
    """An entry of ``train/curves.json``: the mean loss, learning rate and budget of an epoch, and accuracies in [0, 1].

    An accuracy is None if the epoch did not use that view of the images, or had no validation. An objective that uses
    single augmentation sets as views adds a key ``train_SET`` for each of them.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]
    # The views of single augmentation sets stand with the other views, also as columns of curves.csv.
    last_keys = ("selection_clean", "selection_attacked")

    epoch: int
    phase: str
    loss: float
    lr: float
    eps: float
    train_clean: float | None
    train_augmented: float | None
    train_adversarial: float | None
    selection_clean: float | None
    selection_attacked: float | None

    @model_validator(mode="after")
    def _only_views_are_added(self) -> Self:
        for key in self.__pydantic_extra__:
            if not key.startswith("train_"):
                raise ValueError(f"unknown key {shortened(key)}: allowed here are {', '.join(type(self).model_fields)}")
        return self


class Timing(Result):
    """``train/timing.json``: the time of a training and the images it saw in a second.

    `data_wait` is the share of its steps' time in which the first process waited for its batches.
    """

    seconds: float
    images_per_second: float
    data_wait: float
    device: str


class ParameterGroup(Result):
    """Parameters of the optimiser that share weight decay and learning rate (`lr_scale` times the schedule's)."""

    parameters: int
    weight_decay: float
    lr_scale: float


class StepRecord(Result):
    """What one step of a phase did.

    Args:
        images: behind the losses, by view.
        image_size: height and width of the images that the step trained on.
        attack: name and settings of the training attack; None where there is none.
        forward_train, forward_eval: passes of the model in training and in evaluation mode.
        backward: passes back through the model, for weights or for images.
        batch_norm_updates: how often running statistics moved, by branch, or under ``bn`` where there are none.
        updates: of the weights.
        optimiser: parameters by group.
        images_per_rank: share of the batch that each of `world_size` processes has.
        accumulation: micro-batches that this share is taken in; passes are those of one of them.
    """

    images: dict[str, int]
    image_size: tuple[int, int]
    attack: dict[str, Any] | None
    forward_train: int
    forward_eval: int
    backward: int
    batch_norm_updates: dict[str, int]
    updates: int
    trained_parameters: int
    optimiser: dict[str, ParameterGroup]
    world_size: int
    images_per_rank: int
    accumulation: int


class TrainRecord(Record):
    """``train/record.json``.

    Args:
        steps: the first of each phase, by the phase's name.
        window: shards whose rows were shuffled together in the order of an epoch; None if all rows were.
        corruptions: that images of the augmentation set ``corruptions`` had; none where a phase did not use it.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("corruptions",)

    device: str
    steps: dict[str, StepRecord]
    window: int | None
    corruptions: tuple[str, ...] = ()
