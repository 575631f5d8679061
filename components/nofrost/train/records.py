"""The state of a training and the rows of its curves."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

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
        wait_seconds: of `step_seconds`, those that were waited for batches.
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
    wait_seconds: float = 0.0
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
        selection_clean=measured.clean.accuracy if measured and measured.clean else None,
        selection_attacked=attacked.accuracy if attacked else None,
    )


def as_csv(curves: Sequence[Epoch]) -> str:
    """Return the rows as CSV with a header; the cells of columns that a row does not have are empty."""
    text, rows = io.StringIO(), [row.as_json() for row in curves]
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
