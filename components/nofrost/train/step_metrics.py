"""What the steps of a training measure for Prometheus (:mod:`nofrost.telemetry.metrics`).

Every step is counted, which costs microseconds. What needs the device to be waited for (the time of the attack, the
norm of the gradient) or the other processes (loss, accuracies, the slowest process) is measured in one step in
:data:`INTERVAL_S` seconds. All processes measure the same step, though only some have an endpoint: rank 0 of the job
exports what all have in common, and the first process of each machine its own times.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nofrost.processes import ProcessGroup
from nofrost.results import Epoch
from nofrost.telemetry.metrics import table
from nofrost.telemetry.metrics.exposition import count, is_exposed, measure, observe
from nofrost.train.objectives import Batch
from nofrost.train.records import VIEWS, State, accuracy, mean_loss
from nofrost.train.setup import Phase

# Prometheus asks every 15 or 30 seconds.
INTERVAL_S = 5.0


class StepMetrics:
    """The clock of the steps of one process.

    Attributes:
        is_measured: whether the current step is one that is measured; equal in all processes.
        data_wait: the share of the time of the epoch so far that this process has waited for batches. On a GPU part of
            it may have passed while the GPU was still at work.
    """

    def __init__(self, group: ProcessGroup, device: torch.device) -> None:
        self.group, self.device = group, device
        self.is_measured = False
        self._due = 0.0
        self._waited_s = 0.0
        self._epoch_waited_s = self._epoch_s = 0.0
        self._parts_s: dict[str, float] = {}

    @property
    def data_wait(self) -> float:
        """See the class."""
        return self._epoch_waited_s / self._epoch_s if self._epoch_s else 0.0

    @property
    def is_due(self) -> bool:
        """Whether this process wants the next step to be measured."""
        return is_exposed() and time.monotonic() >= self._due

    def waits(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of an epoch, and take the time that each is waited for."""
        iterator = iter(batches)
        self._epoch_waited_s = self._epoch_s = 0.0
        while True:
            began = time.monotonic()
            batch = next(iterator, None)
            if batch is None:
                return
            self._waited_s = time.monotonic() - began
            yield batch

    @contextmanager
    def step(self, state: State, images: int) -> Iterator[None]:
        """Count the step in the block, of a batch of so many images in all processes together."""
        self._parts_s = {}
        began = self._now()
        yield
        taken = self._now() - began
        self._epoch_waited_s += self._waited_s
        self._epoch_s += self._waited_s + taken
        state.wait_seconds += self._waited_s
        state.step_seconds += self._waited_s + taken
        count(table.TRAIN_STEPS)
        count(table.TRAIN_DATA_WAIT, self._waited_s)
        observe(table.TRAIN_STEP_DURATION, self._waited_s + taken)
        if self.group.is_rank_zero:
            count(table.TRAIN_IMAGES, images)
        if self.is_measured:
            self._due = time.monotonic() + INTERVAL_S
            self._export_times(taken)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Take the time of a part of a measured step: ``attack``, or ``exchange``, which waits for other processes."""
        if not self.is_measured:
            yield
            return
        began = self._now()
        yield
        self._parts_s[name] = self._parts_s.get(name, 0.0) + self._now() - began

    def gradient(self, model: nn.Module) -> None:
        """Export the norm of the gradient of an update of a measured step, which all processes have in common."""
        if self.is_measured and self.group.is_rank_zero:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            measure(table.TRAIN_GRADIENT_NORM, float(nn.utils.get_total_norm(gradients)))

    def epoch_so_far(self, state: State, phase: Phase, sums: Mapping[str, Tensor]) -> None:
        """Export what a measured step leaves of the epoch so far: loss, accuracies and learning rate.

        Args:
            sums: those of this process.
        """
        totals = {name: float(value) for name, value in self.group.total(sums).items()}
        if not self.group.is_rank_zero:
            return
        so_far = state.model_copy(update={"sums": totals})
        measure(table.TRAIN_LOSS, mean_loss(so_far, phase))
        measure(table.TRAIN_LEARNING_RATE, phase.lr(state.epoch + (state.step - 1) / phase.images.steps))
        for view in VIEWS:
            if (value := accuracy(so_far, phase, view)) is not None:
                measure(table.TRAIN_ACCURACY, value, "train", view)
        if state.started:
            measure(table.TRAIN_GOODPUT, state.step_seconds / max(1e-9, time.time() - state.started))

    def epoch(self, row: Epoch) -> None:
        """Export the row of a finished epoch."""
        if not self.group.is_rank_zero:
            return
        measure(table.TRAIN_EPOCH, row.epoch)
        measure(table.TRAIN_LOSS, row.loss)
        measure(table.TRAIN_LEARNING_RATE, row.lr)
        columns = {
            ("train", "clean"): row.train_clean,
            ("train", "augmented"): row.train_augmented,
            ("train", "adversarial"): row.train_adversarial,
            ("selection", "clean"): row.selection_clean,
            ("selection", "adversarial"): row.selection_attacked,
        }
        for (split, view), value in columns.items():
            if value is not None:
                measure(table.TRAIN_ACCURACY, value, split, view)
        if row.train_adversarial is not None and row.selection_attacked is not None:
            measure(table.TRAIN_ATTACK_GAP, row.train_adversarial - row.selection_attacked)

    def saved(self, taken_s: float) -> None:
        """Export that the state was saved just now, within so many seconds; rank 0 of the job saves."""
        if self.group.is_rank_zero:
            measure(table.TRAIN_CHECKPOINT, time.time())
            measure(table.TRAIN_CHECKPOINT_DURATION, taken_s)

    def started(self, state: State, save_interval_s: float) -> None:
        """Export what is known before the first step: the restarts so far, and how often the state will be saved."""
        if self.group.is_rank_zero:
            measure(table.TRAIN_CHECKPOINT, time.time())
            measure(table.TRAIN_CHECKPOINT_INTERVAL, save_interval_s)
            for cause, times in state.restarts.items():
                count(table.TRAIN_RESTARTS, times, cause)

    def _export_times(self, taken: float) -> None:
        alone = taken - self._parts_s.get("exchange", 0.0)
        measure(table.TRAIN_ATTACK_SHARE, self._parts_s.get("attack", 0.0) / max(1e-9, taken))
        # Each process fills in its own place.
        times = torch.zeros(self.group.size, dtype=torch.float64)
        times[self.group.rank] = max(1e-9, alone)
        times = self.group.total({"times": times})["times"]
        if self.group.is_rank_zero:
            measure(table.TRAIN_IMBALANCE, float(times.max() / times.min()))

    def _now(self) -> float:
        if self.is_measured and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()
