"""What the train stage left in a run's folder, as typed values."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nofrost.report.measured import Measured, Share


class Selection(Measured):
    """Accuracies on the selection split of the checkpoint that was kept."""

    clean: Share
    attacked: Share | None = None
    score: float


class Catastrophic(Measured):
    """A fall of attacked selection accuracy after `epoch`, while accuracy on the training adversary kept or rose."""

    epoch: int
    before: float
    after: float
    train_before: float
    train_after: float


class Robust(Measured):
    """Attacked selection accuracy at its best, after `epoch`, and at the end; and that on the training adversary."""

    epoch: int
    best: Share
    last: Share
    train_best: float
    train_last: float


class Overfitting(Measured):
    """What the curves of a training show of overfitting; None where there is no sign of it."""

    catastrophic: Catastrophic | None = None
    robust: Robust | None = None


class StoppedEarly(Measured):
    """The epoch after which a guard ended a training that was meant to have `epochs`, and why."""

    epoch: int
    epochs: int
    reason: str


class TrainMetrics(Measured):
    """``train/metrics.json``; trainings of earlier versions were not looked at for overfitting."""

    recipe: str
    seed: int
    parameters: int
    epochs: int
    best_epoch: int
    selection: Selection
    training_images: int
    overfitting: Overfitting | None = None
    stopped_early: StoppedEarly | None = None


class Epoch(Measured):
    """One entry of ``train/curves.json``; accuracies are shares in [0, 1], None where an epoch was not measured."""

    epoch: int
    loss: float | None = None
    lr: float | None = None
    eps: float | None = None
    train_clean: float | None = None
    train_augmented: float | None = None
    train_adversarial: float | None = None
    selection_clean: float | None = None
    selection_attacked: float | None = None
    phase: str | None = None


class Timing(Measured):
    """``train/timing.json``."""

    seconds: float
    images_per_second: float
    device: str


class Step(Measured):
    """What one step of a phase did: images by kind, the attack, passes, updates of batch statistics by branch."""

    images: dict[str, int] = Field(default_factory=dict)
    attack: dict[str, Any] | None = None
    forward_train: int | None = None
    forward_eval: int | None = None
    backward: int | None = None
    batch_norm_updates: dict[str, int] = Field(default_factory=dict)
    updates: int | None = None
    trained_parameters: int | None = None
    world_size: int = 1
    images_per_rank: int | None = None


class TrainRecord(Measured):
    """``train/record.json``; `steps` by phase, which trainings of earlier versions did not write."""

    nofrost: str
    inputs: dict[str, str] = Field(default_factory=dict)
    seeds: dict[str, int] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    steps: dict[str, Step] = Field(default_factory=dict)
