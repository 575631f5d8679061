"""The trainer: phases, epochs, steps, validation, and saving and loading the state."""

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from nofrost.attacks.model import NotFiniteError
from nofrost.data import Split
from nofrost.errors import StoppedError
from nofrost.models import Classifier, precision, single_thread_if_small
from nofrost.processes import ProcessGroup
from nofrost.results import Selection, StepRecord, StoppedEarly
from nofrost.seeds import derive_seed
from nofrost.stage import save_interval_s
from nofrost.stopping import stop_requested
from nofrost.telemetry import Progress, progress
from nofrost.train.failures import check_finite, oom_message
from nofrost.train.objectives import Batch
from nofrost.train.optimiser import (
    average_weights,
    clip_adaptively,
    clipped_parameters,
    create_optimiser,
    describe,
    gradient_scaler,
    set_lr,
)
from nofrost.train.overfitting import collapsed, stopped_early
from nofrost.train.partial import Partial, training_mode
from nofrost.train.records import State, StepTrace, epoch_row, mean_loss, trace_step
from nofrost.train.saving import discard_damaged, load_state, save_best, save_state
from nofrost.train.schedule import running_statistics
from nofrost.train.selection import select
from nofrost.train.setup import Phase

# Images measured at once, at least; a batch as large as that of training fits in memory anyway.
VALIDATION_BATCH = 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """Trains a model phase after phase.

    The best checkpoint is that of the best epoch of the last phase; during an earlier phase, of that one. The
    optimiser, the weight average, the choice of what is trainable and the objective's memory begin with each phase.

    Args:
        model: on its device; each phase continues with the weights of the one before.
        phases: in order.
        seed: of everything random.
        selection: the split that the best checkpoint is chosen on.
        group: the processes that train together; rank 0 alone writes files and prints.

    Attributes:
        state: the progress of the training.
        partial: the part of the model that the current phase trains.
        save_interval_s: seconds between two saves inside an epoch; the end of every epoch is saved as well.
        folder: of the saved state and the checkpoints; set by :meth:`fit`.

    Raises:
        UserError: the interval of saves (see :func:`nofrost.stage.save_interval_s`) is wrong.
    """

    folder: Path

    def __init__(
        self, model: Classifier, phases: Sequence[Phase], seed: int, selection: Split, group: ProcessGroup
    ) -> None:
        self.model, self.phases, self.seed = model, phases, seed
        self.selection, self.group = selection, group
        self.state = State()
        self.save_interval_s = save_interval_s()

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
    def ema_weights(self) -> Classifier | None:
        """The model with the average of its weights; None without an average, and before its first epoch."""
        if not self._average or self._average.n_averaged == 0:
            return None
        average: Classifier = self._average.module  # type: ignore[assignment]  # a copy of the model
        return average

    @property
    def result(self) -> Classifier:
        """The model that is measured and saved as a checkpoint: with averaged weights where there are some."""
        return self.ema_weights or self.model

    def fit(self, title: str, folder: Path) -> None:
        """Train to the end, from the state saved in `folder` if there is one.

        Raises:
            StoppedError: SIGTERM was received; the state is saved.
            UserError: the loss is not finite, or memory does not suffice; saved states and checkpoints stay.
        """
        self.folder = folder
        if not self.load():
            self.start_phase()
        state = self.state
        steps = [phase.epochs * phase.images.steps for phase in self.phases]
        done = sum(steps[: state.phase]) + state.epoch * self.phase.images.steps + state.step
        bars = progress(title, sum(steps), done) if self.group.is_rank_zero else nullcontext()
        with bars as bar, stop_requested() as stop:
            while True:
                images = self.phase.images
                threads = single_thread_if_small(self.device, images.batch_pixels)
                with threads, oom_message(images.images_per_rank):
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

    def start_phase(self, *, resumed: bool = False) -> None:
        """Create the optimiser and the other state of the current phase; if `resumed`, do not reset parameters."""
        recipe, spec = self.phase.recipe, self.phase.recipe.optimiser
        reset = "none" if resumed else recipe.reset
        seed = derive_seed(self.seed, "partial", self.phase.name)
        self.partial = Partial.of(self.model, recipe.trainable, reset, seed)
        self._average = average_weights(self.model, spec.averaging.decay) if spec.averaging else None
        self._optimiser = create_optimiser(self.model, spec)
        self._scaler = gradient_scaler(recipe.precision, self.device)
        clipping = spec.adaptive_clipping
        self._clipped = clipped_parameters(self.model, clipping.exclude) if clipping else []
        self._memory: dict[str, Tensor] = {}

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
        for batch in images.epoch(self.seed, state.epochs, state.step):
            for name, value in self.train_step(batch).items():
                sums[name] = sums.get(name, 0) + value.double()
            state.step += 1
            if bar:
                bar.advance(1, f"epoch {number}/{self.epochs}")
            stopped = stop is not None and stop.is_set()
            if self.group.any(stopped or time.monotonic() - since > self.save_interval_s):
                stopped = self.group.any(stopped)
                self._add_up(sums)
                since = self.save(since)
                if stopped:
                    raise StoppedError(f"stopped in epoch {number} after saving: the same command continues from there")
        self._add_up(sums)
        last = state.epoch + 1 == self.phase.epochs
        measured = (
            self.validate() if last or (state.epoch + 1) % self.phase.recipe.selection.every_epochs == 0 else None
        )
        state.curves.append(epoch_row(state, self.phase, self.group.size, measured))
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
            Over the updates of the step, the sum of the losses (``loss``) and of the correct predictions by view.

        Raises:
            NotFiniteError: an attack met a loss that is not finite.
        """
        phase, state, spec = self.phase, self.state, self.phase.recipe.optimiser
        position, steps_done = (state.epochs, state.step), state.epoch * phase.images.steps + state.step
        # Dropout and the like use torch's global generator: seed it, so that they depend on seed, step and rank alone.
        torch.manual_seed(derive_seed(self.seed, "step", *position, *([self.group.rank] if self.group.rank else [])))
        epochs_done = steps_done / phase.images.steps
        adversary = phase.adversary(derive_seed(self.seed, "attack", *position), epochs_done)
        sums: dict[str, Tensor] = {}
        images: Counter[str] = Counter()
        updates = 0
        # Trace every step up to the recorded one, so that a training that ends earlier has a record too.
        traced = steps_done <= phase.recorded_step
        with (
            trace_step(self.model) if traced else nullcontext() as trace,
            precision(self.model, DTYPES[phase.recipe.precision]),
        ):
            for losses in phase.objective.updates(self.model, batch.to(self.device), adversary, self._memory):
                # The objective Free continues after this update, with the gradient that this pass leaves on its noise.
                self._scaler.scale(losses.loss).backward()  # type: ignore[no-untyped-call]
                self.group.average_gradients(self.model.parameters())
                self._scaler.unscale_(self._optimiser)
                if clipping := spec.adaptive_clipping:
                    clip_adaptively(self._clipped, clipping.factor, clipping.eps)
                set_lr(self._optimiser, phase.lr(epochs_done))
                self._scaler.step(self._optimiser)
                self._scaler.update()
                # Release the gradients now, not before the next backward pass: the next attack needs their memory.
                self._optimiser.zero_grad()
                self.partial.keep(self.model)
                self.group.average_buffers(self.model)
                averaging = spec.averaging
                if self._average and averaging and epochs_done + 1 / phase.images.steps >= averaging.start_epoch:
                    self._average.update_parameters(self.model)
                updates += 1
                images.update(losses.images)
                for name, value in (("loss", losses.loss.detach()), *losses.correct.items()):
                    sums[name] = sums[name] + value if name in sums else value
        if trace:
            state.steps[phase.name] = self._describe_step(images, updates, trace)
        return sums

    def validate(self) -> Selection:
        """Return clean and attacked accuracy of :attr:`result` on the selection split."""
        size = max(VALIDATION_BATCH, self.phase.images.images_per_rank)
        weight = self.phase.objective.robust_weight
        return select(self.result, self.selection, self.phase.recipe, weight, size, self.group)

    def save(self, since: float) -> float:
        """Save the state, with the seconds from `since` (monotonic time) until now; return now."""
        tensors = self._state_dict()
        now = time.monotonic()
        self.state.seconds += now - since
        if self.group.is_rank_zero:
            save_state(self.folder, self.state, tensors)
        return now

    def load(self) -> bool:
        """Continue from the state in :attr:`folder`; return whether there was one that is intact."""
        if self.group.is_rank_zero:
            discard_damaged(self.folder)
        self.group.barrier()
        saved = self.group.agree(lambda: load_state(self.folder))
        if saved is None:
            return False
        self.state, tensors = saved
        self.model.load_state_dict(_section(tensors, "model"))
        self.start_phase(resumed=True)
        momentum = _section(tensors, "momentum")
        for name, parameter in self.model.named_parameters():
            if name in momentum:
                self._optimiser.state[parameter]["momentum_buffer"] = momentum[name].to(parameter.device)
        if self._average and (average := _section(tensors, "average")):
            self._average.module.load_state_dict(average)
            # Any count but zero: at zero, the next update would copy the weights instead of averaging them.
            self._average.n_averaged.fill_(1)
        for name, tensor in _section(tensors, "memory").items():
            self._memory[name] = tensor.chunk(self.group.size)[self.group.rank].to(self.device, copy=True)
        if scaler := _section(tensors, "scaler"):
            self._scaler.load_state_dict({name: value.item() for name, value in scaler.items()})
        return True

    def _state_dict(self) -> dict[str, Tensor]:
        """Return all tensors of the state, equal in all processes; every process has to call this."""
        optimiser_state = self._optimiser.state
        sections = {
            "model": self.model.state_dict(),
            "momentum": {
                name: optimiser_state[parameter]["momentum_buffer"]
                for name, parameter in self.model.named_parameters()
                if optimiser_state.get(parameter, {}).get("momentum_buffer") is not None
            },
            "average": self.ema_weights.state_dict() if self.ema_weights else {},
            "memory": self._memory_of_all(),
            "scaler": {name: torch.tensor(value) for name, value in self._scaler.state_dict().items()},
        }
        return {f"{section}.{name}": tensor for section, named in sections.items() for name, tensor in named.items()}

    def _memory_of_all(self) -> dict[str, Tensor]:
        """Return the objective's memory [rows of the batch, ...] of all processes, in the order of their ranks."""
        if self.group.size == 1:
            return self._memory
        padded = {}
        for name, memory in self._memory.items():
            padded[name] = memory.new_zeros(self.group.size, *memory.shape)
            padded[name][self.group.rank] = memory
        return {name: memories.flatten(0, 1) for name, memories in self.group.total(padded).items()}

    def stopped_early(self) -> StoppedEarly | None:
        """Return why ``selection.guard`` ends the training at the current state; None when it does not."""
        guard = self.phase.recipe.selection.guard
        return stopped_early(self.state.curves, guard, self.epochs) if self.state.curves else None

    def _is_best(self, measured: Selection) -> bool:
        if self.state.best.get("phase") != self.phase.name:
            return True
        guard = self.phase.recipe.selection.guard
        return measured.score >= self.state.best["score"] and not collapsed(self.state.curves, guard)

    def _add_up(self, sums: Mapping[str, Tensor]) -> None:
        """Add up the sums of all processes in the state, and raise if they or the model are not finite."""
        self.state.sums = {name: float(value) for name, value in self.group.total(sums).items()}
        self.group.agree(lambda: self._check_finite(mean_loss(self.state, self.phase, self.group.size)))

    def _check_finite(self, loss: float) -> None:
        finite = torch.stack([tensor.isfinite().all() for tensor in self.model.state_dict().values()]).all()
        best = self.folder / self.state.best_checkpoint if self.state.best_checkpoint else None
        check_finite(loss if finite else math.nan, self.state.epochs + 1, best)

    def _describe_step(self, images: Mapping[str, int], updates: int, trace: StepTrace) -> StepRecord:
        """Return what a step did in all processes."""
        totals = self.group.total({view: torch.tensor(count) for view, count in images.items()})
        return StepRecord(
            images={view: int(count) for view, count in totals.items()},
            image_size=self.phase.images.image_size,
            attack=self.phase.attack() if "adversarial" in images else None,
            **asdict(trace),
            updates=updates,
            trained_parameters=self.partial.trained,
            optimiser=describe(self._optimiser),
            world_size=self.group.size,
            images_per_rank=self.phase.images.images_per_rank,
        )


def _section(tensors: Mapping[str, Tensor], section: str) -> dict[str, Tensor]:
    """Return the saved tensors of one section, such as ``model``, by their names without the section."""
    prefix = f"{section}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
