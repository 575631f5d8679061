"""The training loop: phases, epochs, selection, saved state."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nofrost.attacks.model import NotFiniteError
from nofrost.data import Split
from nofrost.errors import StoppedError
from nofrost.models import Classifier, save_checkpoint, single_thread_if_small
from nofrost.processes import ProcessGroup
from nofrost.seeds import derive_seed
from nofrost.telemetry import Progress, progress
from nofrost.train import curves
from nofrost.train.failures import check_finite, memory_suffices
from nofrost.train.objectives import Batch
from nofrost.train.overfitting import collapsed, stopped_early
from nofrost.train.partial import training_mode
from nofrost.train.phase import Optimisation, Phase, part_of
from nofrost.train.schedule import running_statistics
from nofrost.train.selection import Selection, select
from nofrost.train.state import State, load_state, save_state
from nofrost.train.stopping import stop_requested
from nofrost.train.witness import witnessing

SAVE_INTERVAL_S = 300.0  # between two saves inside an epoch; every epoch's end is saved as well
SELECTED_TOGETHER = 64  # images at least; a batch as large as that of training has its memory already


@dataclass
class Training:
    """One run: a model trained phase after phase.

    The best checkpoint is that of the best epoch of the last phase; while an earlier phase lasts, of that one.

    Attributes:
        model: on its device; goes from phase to phase as it is.
        phases: in order.
        seed: of everything random.
        selection: the split that the best checkpoint is chosen on.
        world: the processes that train together.
        optimisation: of the phase that :meth:`run` is in or ended with.
        folder: of its state and checkpoints, which only the first process writes.
    """

    model: Classifier
    phases: Sequence[Phase]
    seed: int
    selection: Split
    world: ProcessGroup
    optimisation: Optimisation = field(init=False)
    folder: Path = field(init=False)

    @property
    def device(self) -> torch.device:
        """Where the model is trained."""
        return self.model.mean.device

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    def run(self, title: str, folder: Path) -> State:
        """Train to the end, from the state saved in `folder` if there is one, and return the final state.

        Raises:
            StoppedError: SIGTERM came; the state is saved.
            UserError: the loss is no longer a finite number, or memory does not suffice; what was saved stays.
        """
        self.folder = folder
        state = self._resume()
        steps = [phase.epochs * phase.images.steps for phase in self.phases]
        done = sum(steps[: state.phase]) + state.epoch * self.phases[state.phase].images.steps + state.step
        shown = progress(title, sum(steps), done) if self.world.is_rank_zero else nullcontext()
        with shown as bar, stop_requested() as stopped:
            while True:
                self._finish_phase(state, bar, stopped)
                if state.phase + 1 == len(self.phases) or self.stopped_early(state):
                    return state
                state.phase, state.epoch = state.phase + 1, 0
                self._begin_phase(state, begun=False)

    def stopped_early(self, state: State) -> dict[str, Any] | None:
        """Return why the guard ends the training where it stands; None when it does not."""
        guard = self.phases[state.phase].recipe.selection.guard
        return stopped_early(state.curves, guard, self.epochs) if state.curves else None

    def _resume(self) -> State:
        saved = load_state(self.folder)
        if saved is None:
            self._begin_phase(state := State(), begun=False)
            return state
        state, tensors = saved
        self.model.load_state_dict(part_of(tensors, "model"))
        self._begin_phase(state, begun=True)
        self.optimisation.load(tensors)
        return state

    def _begin_phase(self, state: State, *, begun: bool) -> None:
        self.optimisation = Optimisation(self.model, self.phases[state.phase], self.seed, self.world, begun=begun)

    def _finish_phase(self, state: State, bar: Progress | None, stopped: threading.Event) -> None:
        phase = self.phases[state.phase]
        threads = single_thread_if_small(self.device, phase.images.batch_pixels)
        with threads, memory_suffices(phase.images.images_per_rank):
            while state.epoch < phase.epochs and not self.stopped_early(state):
                try:
                    self._epoch(state, phase, bar, stopped)
                except NotFiniteError:  # an attack met it first, and cannot say what to do
                    self._check_finite(state, math.nan)

    def _epoch(self, state: State, phase: Phase, bar: Progress | None, stopped: threading.Event) -> None:
        since, number = time.monotonic(), state.epochs + 1
        # what was saved is of all processes: the first goes on from it, the others from zero
        sums = {
            name: torch.tensor(value if self.world.is_rank_zero else 0.0, dtype=torch.float64, device=self.device)
            for name, value in state.sums.items()
        }
        training_mode(self.model, running_statistics(phase.recipe.schedule, state.epoch))
        for batch in phase.images.epoch(self.seed, state.epochs, state.step):
            for name, value in self._step(state, phase, batch).items():
                sums[name] = sums.get(name, 0) + value.double()
            state.step += 1
            if bar:
                bar.advance(1, f"epoch {number}/{self.epochs}")
            if self.world.any(stopped.is_set() or time.monotonic() - since > SAVE_INTERVAL_S):
                stop = self.world.any(stopped.is_set())
                self._add_up(state, phase, sums)
                since = self._save(state, since)
                if stop:
                    raise StoppedError(f"stopped in epoch {number} after saving: the same command goes on from there")
        self._add_up(state, phase, sums)
        self._finish_epoch(state, phase)
        self._save(state, since)

    def _step(self, state: State, phase: Phase, batch: Batch) -> dict[str, Tensor]:
        place, steps_done = (state.epochs, state.step), state.epoch * phase.images.steps + state.step
        torch.manual_seed(derive_seed(self.seed, "step", *place, *([self.world.rank] if self.world.rank else [])))
        adversary = phase.adversary(derive_seed(self.seed, "attack", *place), steps_done / phase.images.steps)
        if steps_done > (phase.eps(0.0) == 0):  # while the budget is still zero the first step shows no attack
            return self.optimisation.step(batch, adversary)
        with witnessing(self.model) as witness:
            seen = self.optimisation.step(batch, adversary, witness)
        state.steps[phase.name] = self.optimisation.describe(witness)
        return seen

    def _add_up(self, state: State, phase: Phase, sums: dict[str, Tensor]) -> None:
        """Put the sums of all processes into the state, which is not to be saved if they or the model are NaN."""
        state.sums = {name: float(value) for name, value in self.world.total(sums).items()}
        self.world.agree(lambda: self._check_finite(state, curves.mean_loss(state, phase, self.world.size)))

    def _check_finite(self, state: State, loss: float) -> None:
        finite = torch.stack([tensor.isfinite().all() for tensor in self.model.state_dict().values()]).all()
        best = self.folder / state.best_checkpoint if state.best_checkpoint else None
        check_finite(loss if finite else math.nan, state.epochs + 1, best)

    def _finish_epoch(self, state: State, phase: Phase) -> None:
        number, spec = state.epoch + 1, phase.recipe.selection
        with self.optimisation.deployed():
            measured = None
            if number % spec.every_epochs == 0 or number == phase.epochs:
                measured = self._select(phase)
            state.curves.append(curves.row(state, phase, self.world.size, measured))
            if measured and self._is_best(state, phase, measured):
                state.best = {"epoch": state.epochs, "phase": phase.name, **measured.as_json()}
                if self.world.is_rank_zero and state.best_checkpoint:
                    about = {"seed": self.seed, **state.best}
                    save_checkpoint(self.folder / state.best_checkpoint, self.model, about)
        state.epoch, state.step, state.sums = number, 0, {}

    def _select(self, phase: Phase) -> Selection:
        size = max(SELECTED_TOGETHER, phase.images.images_per_rank)
        return select(self.model, self.selection, phase.recipe, phase.objective.robust_weight, size, self.world)

    def _is_best(self, state: State, phase: Phase, measured: Selection) -> bool:
        if state.best.get("phase") != phase.name:
            return True
        return measured.score >= state.best["score"] and not collapsed(state.curves, phase.recipe.selection.guard)

    def _save(self, state: State, since: float) -> float:
        tensors = self.optimisation.tensors()
        now = time.monotonic()
        state.seconds += now - since
        if self.world.is_rank_zero:
            save_state(self.folder, state, tensors)
        return now
