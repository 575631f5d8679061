"""The training loop: steps, epochs, selection, saved state."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from nofrost.config import Recipe
from nofrost.data import Split
from nofrost.errors import StoppedError, UserError
from nofrost.models import Classifier, save_checkpoint
from nofrost.telemetry import Progress, progress
from nofrost.train.batches import TrainingImages, derive_seed
from nofrost.train.objectives import Adversary, Batch, create_objective
from nofrost.train.optimiser import clip_adaptively, clipped_parameters, create_optimiser, lr_share, threat_share
from nofrost.train.selection import select
from nofrost.train.state import State, load_state, save_state

VIEWS = ("clean", "augmented", "adversarial")
SAVE_INTERVAL_S = 300.0  # between two saves inside an epoch; every epoch's end is saved as well


@dataclass
class Training:
    """One run: a model trained by a recipe, with its state in `folder`."""

    model: Classifier
    recipe: Recipe
    seed: int
    images: TrainingImages
    selection: Split
    device: torch.device
    folder: Path

    def __post_init__(self) -> None:
        self.objective = create_objective(self.recipe.objective.name, **self.recipe.objective.settings())
        self.optimiser = create_optimiser(self.model, self.recipe.optimiser)
        self.clipped = clipped_parameters(self.model) if self.recipe.optimiser.adaptive_clipping else []

    def run(self, title: str) -> State:
        """Train to the end, from the saved state if there is one, and return the final state.

        Raises:
            StoppedError: SIGTERM came; the state is saved.
            UserError: the loss is no longer a finite number.
        """
        state = load_state(self.folder, self.model, self.optimiser) or State()
        steps = self.images.steps
        total, done = self.recipe.schedule.epochs * steps, state.epoch * steps + state.step
        with progress(title, total, done) as bar, _sigterm() as stopped:
            while state.epoch < self.recipe.schedule.epochs:
                self._epoch(state, bar, stopped)
        return state

    def _epoch(self, state: State, bar: Progress, stopped: threading.Event) -> None:
        number = state.epoch + 1
        since = time.monotonic()
        sums = {
            name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in state.sums.items()
        }
        self.model.train()
        for tensors in self.images.epoch(self.seed, state.epoch, state.step):
            for name, value in self._step(state, tensors).items():
                sums[name] = sums.get(name, 0) + value.double()
            state.step += 1
            bar.advance(1, f"epoch {number}/{self.recipe.schedule.epochs}")
            if stopped.is_set() or time.monotonic() - since > SAVE_INTERVAL_S:
                state.sums = {name: float(value) for name, value in sums.items()}
                since = self._save(state, since)
            if stopped.is_set():
                raise StoppedError(f"stopped in epoch {number} after saving: the same command goes on from there")
        state.sums = {name: float(value) for name, value in sums.items()}
        self._finish_epoch(state, number)
        self._save(state, since)

    def _step(self, state: State, tensors: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        images, labels, indices, *augmented = (part.to(self.device, non_blocking=True) for part in tensors)
        epochs_done = state.epoch + state.step / self.images.steps
        torch.manual_seed(derive_seed(self.seed, "step", state.epoch, state.step))
        batch = Batch(images, labels, indices, {"augmented": augmented[0]} if augmented else {})
        seen: dict[str, torch.Tensor] = {}
        for losses in self.objective.updates(self.model, batch, self._adversary(state, epochs_done), {}):
            self.optimiser.zero_grad()
            losses.loss.backward()  # type: ignore[no-untyped-call]
            if clipping := self.recipe.optimiser.adaptive_clipping:
                clip_adaptively(self.clipped, clipping.factor, clipping.eps)
            for group in self.optimiser.param_groups:
                share = lr_share(self.recipe.schedule, epochs_done + 1 / self.images.steps)
                group["lr"] = self.recipe.optimiser.lr * share
            self.optimiser.step()
            seen = {"loss": losses.loss.detach(), **losses.correct}
        return seen

    def _adversary(self, state: State, epochs_done: float) -> Adversary:
        threat = self.recipe.threat
        eps = float(threat.eps) * threat_share(self.recipe.schedule, epochs_done)
        seed = derive_seed(self.seed, "attack", state.epoch, state.step)
        return Adversary(self.recipe.attack, threat.norm, eps, seed, epochs_done)

    def _finish_epoch(self, state: State, number: int) -> None:
        loss = state.sums["loss"] / self.images.steps
        if not math.isfinite(loss):
            raise UserError(f"the loss became {loss} in epoch {number}: lower optimiser.lr, or set adaptive_clipping")
        seen = self.images.steps * self.images.batch_size
        schedule = self.recipe.schedule
        row = {
            "epoch": number,
            "loss": loss,
            "lr": self.recipe.optimiser.lr * lr_share(schedule, number - 1 / self.images.steps),
            "eps": float(self.recipe.threat.eps) * threat_share(schedule, number),
            **{f"train_{kind}": state.sums[kind] / seen if kind in state.sums else None for kind in VIEWS},
            "selection_clean": None,
            "selection_attacked": None,
        }
        if number % self.recipe.selection.every_epochs == 0 or number == schedule.epochs:
            measured = select(self.model, self.selection, self.recipe, self.objective.robust_weight, self.device)
            row["selection_clean"] = measured.clean.accuracy
            row["selection_attacked"] = measured.attacked.accuracy if measured.attacked else None
            if measured.score >= state.best.get("score", 0.0):
                state.best = {"epoch": number, **measured.as_json()}
                about = {"seed": self.seed, **state.best}
                save_checkpoint(self.folder / f"best-{number:05d}.safetensors", self.model, about)
        state.curves.append(row)
        state.epoch, state.step, state.sums = number, 0, {}

    def _save(self, state: State, since: float) -> float:
        now = time.monotonic()
        state.seconds += now - since
        save_state(self.folder, state, self.model, self.optimiser)
        return now


@contextmanager
def _sigterm() -> Iterator[threading.Event]:
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)
