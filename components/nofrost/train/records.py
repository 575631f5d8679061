"""The state of a training, the rows of its curves, and the trace of a step."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from torch import Tensor, nn

from nofrost.models import MixtureBatchNorm
from nofrost.models.layers import BatchNorm
from nofrost.results import Epoch, Selection, StepRecord
from nofrost.train.setup import Phase

VIEWS = ("clean", "augmented", "adversarial")  # each has a column in every row of the curves


class State(BaseModel):
    """The progress of a training, as it is saved.

    Attributes:
        world_size: processes that trained together when this was saved.
        phase: its number, from 0.
        epoch: finished epochs of the phase.
        step: finished steps of the next epoch.
        seconds: spent so far, by all runs of the training together.
        sums: of losses (the mean over micro-batches and processes) and of correct predictions in the epoch so far.
        curves: a row for each finished epoch of all phases.
        best: epoch, phase, score and measurements of the best checkpoint so far; its weights are in
            ``best-<epoch>.safetensors``.
        best_files: checksums of the files of that checkpoint, by their names; known to rank 0 alone.
        steps: what one step of each phase did, by the phase's name.
        started: when the training began for the first time, in seconds since 1970; 0 if it is not known.
        step_seconds: of `seconds`, those of the steps that are in this state, with the wait for their batches.
        stopped: whether this was saved because the training was asked to stop.
        restarts: how often the training was started again, by cause (:mod:`nofrost.train.restarts`).
    """

    world_size: int = 1
    phase: int = 0
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = {}
    curves: list[Epoch] = []
    best: dict[str, Any] = {}
    best_files: dict[str, str] = {}
    steps: dict[str, StepRecord] = {}
    started: float = 0.0
    step_seconds: float = 0.0
    stopped: bool = False
    restarts: dict[str, int] = {}

    @property
    def epochs(self) -> int:
        """Finished epochs of all phases."""
        return len(self.curves)

    @property
    def best_checkpoint(self) -> str | None:
        """Name of the file with the best weights so far, None while there are none."""
        return f"best-{self.best['epoch']:05d}.safetensors" if self.best else None


def mean_loss(state: State, phase: Phase) -> float:
    """Return the mean loss of the epoch so far, over its steps and their updates."""
    return state.sums["loss"] / (state.step * state.steps[phase.name].updates)


def accuracy(state: State, phase: Phase, view: str) -> float | None:
    """Return the accuracy in the epoch so far on the images of a view; None where the objective does not use it."""
    images = state.steps[phase.name].images.get(view)
    return state.sums[view] / (state.step * images) if images and view in state.sums else None


def epoch_row(state: State, phase: Phase, measured: Selection | None) -> Epoch:
    """Return the row of the epoch whose steps are done; `measured` is None if it had no validation.

    Training accuracies are over all images of a view, measured at the time of each step; None for one of `VIEWS` that
    the objective does not use. A single augmentation set that the objective uses as a view has its own column.
    """
    attacked, views = measured.attacked if measured else None, phase.objective.augmented_views
    return Epoch(
        epoch=state.epochs + 1,
        phase=phase.name,
        loss=mean_loss(state, phase),
        lr=phase.lr(state.epoch + 1 - 1 / phase.images.steps),
        eps=phase.eps(state.epoch + 1),
        **{f"train_{view}": accuracy(state, phase, view) for view in dict.fromkeys([*VIEWS, *views])},
        selection_clean=measured.clean.accuracy if measured else None,
        selection_attacked=attacked.accuracy if attacked else None,
    )


def as_csv(curves: Sequence[Epoch]) -> str:
    """Return the rows as CSV with a header; the cells of columns that a row does not have are empty."""
    text, rows = io.StringIO(), [row.as_json() for row in curves]
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass
class StepTrace:
    """Counts of model passes and of updates of batch statistics, including those of the attack.

    Attributes:
        forward_train, forward_eval: forward passes in training and in evaluation mode.
        backward: passes back through the model, for weights or for images.
        batch_norm_updates: how often running statistics were updated, by branch (``bn`` without a mixture).
        is_counting: whether passes count at the moment.
    """

    forward_train: int = 0
    forward_eval: int = 0
    backward: int = 0
    batch_norm_updates: dict[str, int] = field(default_factory=dict)
    # Not annotated, since it is not a count that belongs to the record.
    is_counting = True

    def count(self, model: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """Count one forward pass, and later its backward pass; a forward hook of the model."""
        if not self.is_counting:
            return
        if model.training:
            self.forward_train += 1
        else:
            self.forward_eval += 1
        if logits.requires_grad:
            logits.register_hook(self._count_backward)  # type: ignore[no-untyped-call]

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += 1


@contextmanager
def trace_step(model: nn.Module) -> Iterator[StepTrace]:
    """Yield the trace of the step in the block, complete after the block; it does not change what the step computes."""
    trace, before = StepTrace(), _batches_tracked(model)
    hook = model.register_forward_hook(trace.count)
    try:
        yield trace
    finally:
        hook.remove()
    for branch, counts in _batches_tracked(model).items():
        trace.batch_norm_updates[branch] = max(
            after - earlier for after, earlier in zip(counts, before[branch], strict=True)
        )


def _batches_tracked(model: nn.Module) -> dict[str, list[int]]:
    """Return, by branch, how many batches each batch norm has seen in training mode."""
    branches = {
        id(norm): branch
        for module in model.modules()
        if isinstance(module, MixtureBatchNorm)
        for branch, norm in (("clean", module.clean), ("adversarial", module.adversarial))
    }
    counts: dict[str, list[int]] = {}
    for module in model.modules():
        if isinstance(module, BatchNorm) and module.num_batches_tracked is not None:
            counts.setdefault(branches.get(id(module), "bn"), []).append(int(module.num_batches_tracked))
    return counts
