"""One phase of a training: what it starts anew, and one step of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nofrost.attacks import attack_settings
from nofrost.config import Recipe
from nofrost.models import Classifier, precision
from nofrost.processes import ProcessGroup
from nofrost.seeds import derive_seed
from nofrost.train.averaging import WeightAverage
from nofrost.train.batches import TrainingImages
from nofrost.train.clipping import clip_adaptively, clipped_parameters
from nofrost.train.objectives import Adversary, Batch, Losses, Objective
from nofrost.train.optimiser import create_optimiser, describe, gradient_scaler, set_lr
from nofrost.train.partial import Partial
from nofrost.train.schedule import lr_share, threat_share
from nofrost.train.witness import Witness

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Phase:
    """What one phase of a training does: its name, its recipe, its images and its loss."""

    name: str
    recipe: Recipe
    images: TrainingImages
    objective: Objective

    @property
    def epochs(self) -> int:
        """Epochs of this phase."""
        return self.recipe.schedule.epochs

    def lr(self, epochs_done: float) -> float:
        """Return the learning rate of the step that begins at `epochs_done` of this phase."""
        return self.recipe.optimiser.lr * lr_share(self.recipe.schedule, epochs_done, 1 / self.images.steps)

    def eps(self, epochs_done: float) -> float:
        """Return the budget at `epochs_done` of this phase, in pixels of [0, 1]."""
        return float(self.recipe.threat.eps) * threat_share(self.recipe.schedule, epochs_done)

    def adversary(self, seed: int, epochs_done: float) -> Adversary:
        """Return the attack at `epochs_done` of this phase."""
        return Adversary(self.recipe.attack, self.recipe.threat.norm, self.eps(epochs_done), seed, epochs_done)

    def attack(self) -> dict[str, Any]:
        """Return the attack with all of its settings, as JSON values; those that are None follow from the others."""
        spec = self.recipe.attack
        own = {**attack_settings(spec.name), **spec.as_json(), **(self.objective.fixes or {})}
        own.pop("seed")
        return {"name": spec.name, **own, **self.recipe.threat.as_json()}


class Optimisation:
    """How one phase moves the weights of `model`: choice of what trains, optimiser, weight average, memory of the loss.

    All of it begins with the phase. To go on with a phase, first load the model, make this with `begun`, then
    :meth:`load`.

    Args:
        model: on its device; what the phase re-initialises is given new values unless it has `begun`.
        phase: what to do.
        seed: of the training.
        world: the processes that train together.
        begun: whether the phase goes on from a saved state.
    """

    def __init__(self, model: Classifier, phase: Phase, seed: int, world: ProcessGroup, *, begun: bool) -> None:
        recipe, spec = phase.recipe, phase.recipe.optimiser
        reset = "none" if begun else recipe.reset
        self.partial = Partial.of(model, recipe.trainable, reset, derive_seed(seed, "partial", phase.name))
        self.average = WeightAverage(model, spec.averaging) if spec.averaging else None
        self._model, self._phase, self._world = model, phase, world
        self._optimiser = create_optimiser(model, spec)
        self._scaler = gradient_scaler(recipe.precision, model.mean.device)
        self._clipped = clipped_parameters(model, spec.adaptive_clipping.exclude) if spec.adaptive_clipping else []
        self._memory: dict[str, Tensor] = {}

    def step(self, batch: Batch, adversary: Adversary, witness: Witness | None = None) -> dict[str, Tensor]:
        """Descend on each loss that the objective yields for this process's part of a batch, which may be on the CPU.

        Returns:
            Over the updates of the step, the sum of the losses and, by kind of image, of the right answers.
        """
        seen: dict[str, Tensor] = {}
        batch = self._on_device(batch)
        with precision(self._model, DTYPES[self._phase.recipe.precision]):
            updates = self._phase.objective.updates(self._model, batch, adversary, self._memory)
            for losses in witness.updates_of(updates, batch) if witness else updates:
                self._descend(losses, adversary.epochs_done)
                for name, value in (("loss", losses.loss.detach()), *losses.correct.items()):
                    seen[name] = seen[name] + value if name in seen else value
        return seen

    def _descend(self, losses: Losses, epochs_done: float) -> None:
        self._scaler.scale(losses.loss).backward()  # type: ignore[no-untyped-call]
        self._world.average_gradients(self._model.parameters())
        self._scaler.unscale_(self._optimiser)
        if clipping := self._phase.recipe.optimiser.adaptive_clipping:
            clip_adaptively(self._clipped, clipping.factor, clipping.eps)
        set_lr(self._optimiser, self._phase.lr(epochs_done))
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad()  # now, and not before the next loss: its graph then has their memory
        self.partial.keep(self._model)
        self._world.average_buffers(self._model)
        if self.average:
            self.average.update(epochs_done + 1 / self._phase.images.steps)

    def describe(self, witness: Witness) -> dict[str, Any]:
        """Return what the step that `witness` saw did, in all processes: an entry of ``steps`` in the record."""
        images = self._world.total({kind: torch.tensor(count) for kind, count in witness.images.items()})
        return {
            "images": {kind: int(count) for kind, count in images.items()},
            "image_size": list(self._phase.images.image_size),
            "attack": self._phase.attack() if "adversarial" in images else None,
            **witness.passes(),
            "trained_parameters": self.partial.trained,
            "optimiser": describe(self._optimiser),
            "world_size": self._world.size,
            "images_per_rank": self._phase.images.images_per_rank,
        }

    def deployed(self) -> AbstractContextManager[None]:
        """Let the model bear inside the block what is selected and saved: the weight average, if there is one."""
        return self.average.applied() if self.average else nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that a kill must not lose, equal in all processes; all of them have to ask."""
        moved = self._optimiser.state
        momentum = {
            name: moved[parameter]["momentum_buffer"]
            for name, parameter in self._model.named_parameters()
            if moved.get(parameter, {}).get("momentum_buffer") is not None
        }
        parts = {
            "model": self._model.state_dict(),
            "momentum": momentum,
            "average": self.average.state() if self.average else {},
            "memory": self._memory_of_all(),
            "scaler": {name: torch.tensor(value) for name, value in self._scaler.state_dict().items()},
        }
        return {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`tensors` returned; the model itself has it already."""
        momentum = part_of(tensors, "momentum")
        for name, parameter in self._model.named_parameters():
            if name in momentum:
                self._optimiser.state[parameter]["momentum_buffer"] = momentum[name].to(parameter.device)
        if self.average:
            self.average.load(part_of(tensors, "average"))
        device, world = self._model.mean.device, self._world
        for name, tensor in part_of(tensors, "memory").items():
            self._memory[name] = tensor.chunk(world.size)[world.rank].to(device, copy=True)
        if scaler := part_of(tensors, "scaler"):
            self._scaler.load_state_dict({name: value.item() for name, value in scaler.items()})

    def _on_device(self, batch: Batch) -> Batch:
        device = self._model.mean.device
        parts = {name: getattr(batch, name).to(device, non_blocking=True) for name in ("images", "labels", "indices")}
        augmented = {name: images.to(device, non_blocking=True) for name, images in batch.augmented.items()}
        return replace(batch, **parts, augmented=augmented)

    def _memory_of_all(self) -> dict[str, Tensor]:
        """Memory [slots of the batch, ...] of all processes, whose parts of a batch follow one another."""
        if self._world.size == 1:
            return self._memory
        padded = {}
        for name, own in self._memory.items():
            padded[name] = own.new_zeros(self._world.size, *own.shape)
            padded[name][self._world.rank] = own
        return {name: parts.flatten(0, 1) for name, parts in self._world.total(padded).items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return those of the saved tensors that belong to one part, such as ``model``, by their own names."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
