"""Optimiser and schedule of a training: update rule, learning rate, and length."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from nofrost.config.base import OmitEmpty, Settings
from nofrost.errors import shortened

Excluded = Literal["gains", "biases", "head"]


class GradientClipping(Settings):
    """Adaptive gradient clipping (Brock et al. 2021b)."""

    factor: float = Field(default=0.01, gt=0)
    eps: float = Field(default=1e-3, gt=0)
    # never clipped: the rule would not let a gain of zero change
    exclude: tuple[Excluded, ...] = ("gains", "biases", "head")


class Averaging(Settings):
    """Exponential moving average of the weights, which is then what is selected and saved as best."""

    decay: float = Field(default=0.999, gt=0, lt=1)
    start_epoch: float = Field(default=0.0, ge=0)


class RmsProp(Settings):
    """RMSProp as TensorFlow has it: each step is divided by √(mean of squared gradients + `eps`), a moving average that
    keeps the share `decay` and starts at 1. The defaults are those of its Inception networks."""

    decay: float = Field(default=0.9, ge=0, lt=1)
    eps: float = Field(default=1.0, gt=0)


class OptimiserSpec(OmitEmpty, Settings):
    """SGD, or RMSProp where `rmsprop` has its settings, such as {}. Weight decay is for weights; `decay_gains` and
    `decay_biases` extend it to scales and shifts of normalisers and to gains and biases of layers. `scalar_lr`
    multiplies the learning rate of single numbers (Fixup's 0.1). With `lr_per` the rate is `lr` for batches of so many
    images and grows in proportion to the batch: lr * B / lr_per."""

    lr: float = Field(default=0.1, gt=0)
    lr_per: int | None = Field(default=None, ge=1)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=5e-5, ge=0)
    decay_gains: bool = False
    decay_biases: bool = False
    scalar_lr: float = Field(default=1.0, gt=0)
    rmsprop: RmsProp | None = None
    adaptive_clipping: GradientClipping | None = None
    averaging: Averaging | None = None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> OptimiserSpec:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0: set momentum, or nesterov: false")
        if self.nesterov and self.rmsprop:
            raise ValueError("nesterov is for SGD, and rmsprop is set: leave out one of them")
        return self


def _known_batch_size(value: Any) -> Any:
    if value == "all" or (isinstance(value, int | float) and value >= 2 and value == int(value)):
        return value
    raise ValueError(f"{shortened(value)} is neither all nor a number of images from 2 on")


BatchSize = Annotated[Literal["all"] | int, BeforeValidator(_known_batch_size)]


class ScheduleSpec(OmitEmpty, Settings):
    """Length of the training, and how learning rate and budget change during it; all lengths are in epochs.

    With ``batch_size: all`` every step takes all training images, as gradient descent does (as many of them as its
    processes and micro-batches can share equally), also in a study with a scale.

    Gradient accumulation takes a batch in `accumulation` micro-batches, whose gradients are added up for one update.

    After a linear rise over `lr_warmup_epochs` the learning rate follows its `shape`: a `cosine` to zero, `step` (times
    `decay` at each of `milestones`), `piecewise-linear` through `points` (epoch, share of the peak) or `constant`.
    `per` says whether it moves at every step or at every epoch. During `threat_warmup_epochs` the budget grows linearly
    from zero. In the last `running_statistics_epochs` batch norms use their running statistics, while their scales and
    shifts still train (xie2020 §4.3).
    """

    epochs: int = Field(default=90, ge=1)
    batch_size: BatchSize = 256
    accumulation: int = Field(default=1, ge=1)
    shape: Literal["cosine", "step", "piecewise-linear", "constant"] = "cosine"
    per: Literal["step", "epoch"] = "step"
    milestones: tuple[float, ...] = ()
    decay: float = Field(default=0.1, gt=0, le=1)
    points: tuple[tuple[float, float], ...] = ()
    lr_warmup_epochs: float = Field(default=0.0, ge=0)
    threat_warmup_epochs: float = Field(default=0.0, ge=0)
    running_statistics_epochs: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _lasts_long_enough(self) -> ScheduleSpec:
        for key in ("lr_warmup_epochs", "threat_warmup_epochs", "running_statistics_epochs"):
            if (length := getattr(self, key)) > self.epochs:
                raise ValueError(f"{key} {length:g} is longer than the {self.epochs} epochs: shorten it")
        return self

    @model_validator(mode="after")
    def _milestones_and_points_fit_the_shape(self) -> ScheduleSpec:
        for key, shape in (("milestones", "step"), ("points", "piecewise-linear")):
            marks = getattr(self, key)
            if marks and self.shape != shape:
                raise ValueError(f"{key} are for shape {shape}, not {self.shape}: leave them out")
            if self.shape == shape and not marks:
                raise ValueError(f"shape {shape} needs {key}: list them, or choose another shape")
            epochs = [mark[0] if isinstance(mark, tuple) else mark for mark in marks]
            if any(before >= after for before, after in pairwise(epochs)):
                raise ValueError(f"{key} must be in the order of their epochs, each later than the one before")
            if epochs and not 0 <= epochs[0] <= epochs[-1] <= self.epochs:
                raise ValueError(f"{key} lie outside the {self.epochs} epochs of the training: move or remove them")
        if any(share < 0 for _, share in self.points):
            raise ValueError("points are (epoch, share of the peak): a share cannot be negative")
        return self
