"""The trainer: phases, epochs, steps, validation, and saving and loading the state."""

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from nofrost.attacks.model import NotFiniteError
from nofrost.data import Split
from nofrost.errors import StoppedError
from nofrost.models import Classifier, precision, single_thread_if_small
from nofrost.processes import ProcessGroup
from nofrost.results import Selection, StoppedEarly
from nofrost.seeds import derive_seed
from nofrost.stage import save_interval_s
from nofrost.stopping import stop_requested
from nofrost.telemetry import Progress, progress
from nofrost.telemetry.log import event
from nofrost.train.batch_statistics import BatchStatistics
from nofrost.train.failures import check_finite, oom_message
from nofrost.train.micro_batches import MicroBatches
from nofrost.train.objectives import Batch
from nofrost.train.optimiser import clip_adaptively, set_lr
from nofrost.train.overfitting import collapsed, stopped_early
from nofrost.train.partial import training_mode
from nofrost.train.phase_state import PhaseState
from nofrost.train.records import State, epoch_row, mean_loss
from nofrost.train.restarts import cause_of_restart, noted_end
from nofrost.train.saving import load_state, save_best, save_state
from nofrost.train.schedule import is_of_the_end, running_statistics
from nofrost.train.selection import select
from nofrost.train.setup import Phase
from nofrost.train.starts import Start
from nofrost.train.step_metrics import StepMetrics
from nofrost.train.step_record import step_record, trace_step

# Images measured at once, at least; a batch as large as that of training fits in memory anyway.
VALIDATION_BATCH = 64
# What processes wish after a step; the largest wish of all is done.
MEASURE, SAVE = 1, 2
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """Trains a model phase after phase.

    The best checkpoint is that of the best epoch of the last phase, or of its last one where the recipe keeps that;
    during an earlier phase, of that one. Epochs before running statistics or the weight average set in, where the
    recipe ends with them, are not chosen. The optimiser, the weight average, the choice of what is trainable and the
    objective's memory begin with each phase.

    Args:
        model: on its device; each phase continues with the weights of the one before.
        phases: in order.
        seed: of everything random.
        selection: the split that the best checkpoint is chosen on.
        group: the processes that train together; rank 0 alone writes files and prints.
        start: what another training has done of this one; None to train all phases.

    Attributes:
        state: the progress of the training.
        phase_state: the tensors of the current phase.
        statistics: the groups of images that batch norms normalise with in it.
        save_interval_s: seconds between two saves inside an epoch; the end of every epoch is saved as well.
        folder: of the saved state and the checkpoints; set by :meth:`fit`.

    Raises:
        UserError: the interval of saves (see :func:`nofrost.stage.save_interval_s`) is wrong.
    """

    folder: Path

    def __init__(
        self,
        model: Classifier,
        phases: Sequence[Phase],
        seed: int,
        selection: Split,
        group: ProcessGroup,
        start: Start | None = None,
    ) -> None:
        self.model, self.phases, self.seed = model, phases, seed
        self.selection, self.group, self.start = selection, group, start
        self.state = State()
        self.save_interval_s = save_interval_s()
        self.metrics = StepMetrics(group, self.device)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.mean.device

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.phases[self.state.phase]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def result(self) -> Classifier:
        """The model that is measured and saved as a checkpoint: with averaged weights where there are some."""
        return self.phase_state.ema_weights or self.model

    def fit(self, title: str, folder: Path) -> None:
        """Train to the end, from the state saved in `folder` if there is one.

        Raises:
            StoppedError: SIGTERM was received; the state is saved.
            UserError: the loss is not finite, or memory does not suffice; saved states and checkpoints stay.
        """
        self.folder = folder
        if not self.load():
            self.begin()
        self.metrics.started(self.state, self.save_interval_s)
        state = self.state
        steps = [phase.epochs * phase.images.steps for phase in self.phases]
        done = sum(steps[: state.phase]) + state.epoch * self.phase.images.steps + state.step
        bars = progress(title, sum(steps), done, post_status=True) if self.group.is_rank_zero else nullcontext()
        noted = noted_end(folder) if self.group.is_rank_zero else nullcontext()
        with bars as bar, stop_requested() as stop, noted:
            while True:
                images = self.phase.images
                threads = single_thread_if_small(self.device, images.batch_pixels)
                with threads, oom_message(images.micro_batch_size):
                    while state.epoch < self.phase.epochs and not self.stopped_early():
                        try:
                            self.train_epoch(bar, stop)
                        except NotFiniteError:
                            # The attack noticed it before the loss did, but does not know which settings to change.
                            self._check_finite(math.nan)
                if state.phase + 1 == len(self.phases) or self.stopped_early():
                    return
                state.phase, state.epoch = state.phase + 1, 0
                self.start_phase()

    @property
    def started_at(self) -> int:
        """Epochs that another training has done of this one."""
        return len(self.start.curves) if self.start else 0

    def begin(self) -> None:
        """Begin the first phase, or the one after those that another training has done."""
        if self.start:
            self.start.load(self.model)
            self.state.phase = self.start.phases
            self.state.curves, self.state.steps = list(self.start.curves), dict(self.start.steps)
        self.start_phase()
        self.state.started = time.time()

    def start_phase(self, saved: Mapping[str, Tensor] | None = None) -> None:
        """Create the optimiser and the other tensors of the current phase, or continue with those that were saved."""
        recipe, images = self.phase.recipe, self.phase.images
        seed = derive_seed(self.seed, "partial", self.phase.name)
        self.phase_state = PhaseState(self.model, recipe, seed, self.group, saved)
        self.statistics = BatchStatistics.of(recipe.model.batch_statistics, images.micro_batch_size, self.group)

    def train_epoch(self, bar: Progress | None = None, stop: threading.Event | None = None) -> None:
        """Train from the current step to the end of the epoch, then validate and save.

        Raises:
            StoppedError: `stop` was set in one of the processes; the state is saved.
            UserError: the loss is not finite.
        """
        state, images = self.state, self.phase.images
        since, number = time.monotonic(), state.epochs + 1
        # Saved sums are those of all processes: rank 0 continues from them, the others from zero.
        sums = {
            name: torch.tensor(value if self.group.is_rank_zero else 0.0, dtype=torch.float64, device=self.device)
            for name, value in state.sums.items()
        }
        training_mode(self.model, running_statistics(self.phase.recipe.schedule, state.epoch))
        if bar:
            bar.measured(epoch=number, epochs=self.epochs)
        for batch in self.metrics.waits(images.epoch(self.seed, state.epochs, state.step)):
            with self.metrics.step(state, images.batch_size):
                summands = self.train_step(batch)
            for name, value in summands.items():
                sums[name] = sums.get(name, 0) + value.double()
            state.step += 1
            if self.metrics.is_measured:
                self.metrics.epoch_so_far(state, self.phase, sums)
            if bar:
                bar.measured(data_wait=self.metrics.data_wait)
                bar.advance(1, f"epoch {number}/{self.epochs}, waits for data: {self.metrics.data_wait:.0%}")
            stopped = stop is not None and stop.is_set()
            is_save_due = stopped or time.monotonic() - since > self.save_interval_s
            wish = self.group.largest(SAVE if is_save_due else MEASURE if self.metrics.is_due else 0)
            self.metrics.is_measured = wish == MEASURE
            if wish == SAVE:
                stopped = self.group.any(stopped)
                loss = self._add_up(sums)
                if bar:
                    bar.measured(loss=loss)
                state.stopped = stopped
                since = self.save(since)
                if stopped:
                    # All end together: the starter kills rank 0, as it writes, 30 s after another one has ended.
                    self.group.barrier()
                    raise StoppedError(f"stopped in epoch {number} after saving: the same command continues from there")
        self._add_up(sums)
        last = state.epoch + 1 == self.phase.epochs
        # without a selection split the last epoch is the one that is kept
        is_due = len(self.selection) and (state.epoch + 1) % self.phase.recipe.selection.every_epochs == 0
        measured = self.validate() if last or is_due else None
        row = epoch_row(state, self.phase, measured)
        state.curves.append(row)
        self.metrics.epoch(row)
        if self.group.is_rank_zero:
            figures = row.as_json() | {"data_wait": round(self.metrics.data_wait, 4)}
            event("epoch", f"epoch {row.epoch} of {self.epochs} is done", **figures)
        if bar:
            bar.measured(**{name: value for name, value in row.as_json().items() if isinstance(value, float)})
        if measured and self._is_best(measured):
            state.best = {"epoch": state.epochs, "phase": self.phase.name, **measured.as_json()}
            if self.group.is_rank_zero and state.best_checkpoint:
                about = {"seed": self.seed, **state.best}
                state.best_files = save_best(self.folder, state.best_checkpoint, self.result, about)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self.save(since)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Descend on each loss that the objective yields for this process's rows of a batch.

        Returns:
            Over the updates of the step, this process's share of the sum of the losses (``loss``), and the sum of its
            correct predictions by view.

        Raises:
            NotFiniteError: an attack met a loss that is not finite.
        """
        phase, state, spec = self.phase, self.state, self.phase.recipe.optimiser
        tensors = self.phase_state
        position, steps_done = (state.epochs, state.step), state.epoch * phase.images.steps + state.step
        # Dropout and the like use torch's global generator: seed it, so that they depend on seed, step and rank alone.
        torch.manual_seed(derive_seed(self.seed, "step", *position, *([self.group.rank] if self.group.rank else [])))
        epochs_done = steps_done / phase.images.steps
        adversary = phase.adversary(derive_seed(self.seed, "attack", *position), epochs_done, self.metrics.part)
        parts = batch.parts(len(tensors.memory), self.statistics.groups)
        micro_batches = MicroBatches(phase.objective, self.model, parts, adversary, tensors.memory)
        sums: dict[str, Tensor] = {}
        images: Counter[str] = Counter()
        updates = 0
        # Trace every step up to the recorded one, so that a training that ends earlier has a record too.
        traced = steps_done <= phase.recorded_step
        with (
            trace_step(self.model) if traced else nullcontext() as trace,
            precision(self.model, DTYPES[phase.recipe.precision]),
            self.statistics.normalise(),
        ):
            while all_losses := micro_batches.backward(tensors.scaler, trace):
                with self.metrics.part("exchange"):
                    self.group.average_gradients(self.model.parameters())
                tensors.scaler.unscale_(tensors.optimiser)
                self.metrics.gradient(self.model)
                if clipping := spec.adaptive_clipping:
                    clip_adaptively(tensors.clipped, clipping.factor, clipping.eps)
                set_lr(tensors.optimiser, phase.lr(epochs_done))
                tensors.scaler.step(tensors.optimiser)
                tensors.scaler.update()
                # Release the gradients now, not before the next backward pass: the next attack needs their memory.
                tensors.optimiser.zero_grad()
                tensors.partial.keep(self.model)
                with self.metrics.part("exchange"):
                    self.group.average_buffers(self.model)
                averaging = spec.averaging
                if tensors.average and averaging and epochs_done + 1 / phase.images.steps >= averaging.start_epoch:
                    tensors.average.update_parameters(self.model)
                updates += 1
                for losses in all_losses:
                    images.update(losses.images)
                    share = losses.loss.detach() / (len(all_losses) * self.group.size)
                    for name, value in (("loss", share), *losses.correct.items()):
                        sums[name] = sums[name] + value if name in sums else value
        if trace:
            state.steps[phase.name] = step_record(phase, tensors, self.group, images, updates, trace)
        return sums

    def validate(self) -> Selection:
        """Return clean and attacked accuracy of :attr:`result` on the selection split."""
        size = max(VALIDATION_BATCH, self.phase.images.micro_batch_size)
        weight = self.phase.objective.robust_weight
        return select(self.result, self.selection, self.phase.recipe, weight, size, self.group)

    def save(self, since: float) -> float:
        """Save the state, with the seconds from `since` (monotonic time) until now; return now."""
        tensors = self.phase_state.state_dict()
        now = time.monotonic()
        self.state.world_size = self.group.size
        self.state.seconds += now - since
        if self.group.is_rank_zero:
            save_state(self.folder, self.state, tensors)
        self.metrics.saved(time.monotonic() - now)
        return now

    def load(self) -> bool:
        """Continue from the state in :attr:`folder` of rank 0; return whether there was one that is intact."""
        saved = load_state(self.folder, self.group)
        if saved is None:
            return False
        self.state, tensors = saved
        was_stopped, self.state.stopped = self.state.stopped, False
        cause = self.group.broadcast(cause_of_restart(self.folder, was_stopped) if self.group.is_rank_zero else "")
        self.state.restarts[cause] = self.state.restarts.get(cause, 0) + 1
        self.start_phase(tensors)
        return True

    def stopped_early(self) -> StoppedEarly | None:
        """Return why ``selection.guard`` ends the training at the current state; None when it does not."""
        guard = self.phase.recipe.selection.guard
        return stopped_early(self.state.curves, guard, self.epochs) if self.state.curves else None

    def _is_best(self, measured: Selection) -> bool:
        """Return whether the epoch that was just measured is the one to keep so far."""
        state, recipe = self.state, self.phase.recipe
        if state.best.get("phase") != self.phase.name:
            return True
        if collapsed(state.curves, recipe.selection.guard):
            return False
        best_epoch = state.epoch - (state.epochs - state.best["epoch"])
        if is_of_the_end(recipe, state.epoch) and not is_of_the_end(recipe, best_epoch):
            return True
        return recipe.selection.keep == "last" or measured.score >= state.best["score"]

    def _add_up(self, sums: Mapping[str, Tensor]) -> float:
        """Add up the sums of all processes in the state; return the mean loss, which like the model must be finite."""
        self.state.sums = {name: float(value) for name, value in self.group.total(sums).items()}
        loss = mean_loss(self.state, self.phase)
        self.group.agree(lambda: self._check_finite(loss))
        return loss

    def _check_finite(self, loss: float) -> None:
        finite = torch.stack([tensor.isfinite().all() for tensor in self.model.state_dict().values()]).all()
        best = self.folder / self.state.best_checkpoint if self.state.best_checkpoint else None
        check_finite(loss if finite else math.nan, self.state.epochs + 1, best)
