"""What a phase changes beside its curves: weights, momentum, weight average, loss scale, the objective's memory."""

from collections.abc import Mapping

import torch
from torch import Tensor, distributed
from torch.optim.swa_utils import AveragedModel

from nofrost.config import Recipe
from nofrost.models import Classifier
from nofrost.processes import ProcessGroup
from nofrost.train.optimiser import average_weights, clipped_parameters, create_optimiser, gradient_scaler
from nofrost.train.partial import Partial

# What SGD and RMSProp keep of each parameter, and the section of a save that holds it.
OPTIMISER_SECTIONS = {"momentum_buffer": "momentum", "square_avg": "square-average", "step": "optimiser-step"}


class PhaseState:
    """The tensors of a phase, new for each phase but for the weights; :meth:`state_dict` has all that change.

    Args:
        model: on its device; the phase begins with the weights that it has.
        recipe: of the phase.
        seed: of what is reset, and of a random choice of what is trained.
        group: the processes that train together.
        saved: what :meth:`state_dict` returned in this phase, to continue from it; nothing is reset then.

    Attributes:
        partial: the part of the model that is trained.
        optimiser: of that part.
        scaler: of the loss, for float16.
        average: of the weights; None where the recipe has none.
        clipped: the parameters whose gradients are clipped.
        memory: what the objective keeps from step to step, by name [micro-batch size, ...], for each micro-batch.
    """

    def __init__(
        self, model: Classifier, recipe: Recipe, seed: int, group: ProcessGroup, saved: Mapping[str, Tensor] | None
    ) -> None:
        spec = recipe.optimiser
        self.model, self.group = model, group
        if saved is not None:
            model.load_state_dict(_section(saved, "model"))
        self.partial = Partial.of(model, recipe.trainable, recipe.reset if saved is None else "none", seed)
        self.average: AveragedModel | None = average_weights(model, spec.averaging.decay) if spec.averaging else None
        self.optimiser = create_optimiser(model, spec)
        self.scaler = gradient_scaler(recipe.precision, model.mean.device)
        clipping = spec.adaptive_clipping
        self.clipped = clipped_parameters(model, clipping.exclude) if clipping else []
        self.memory: list[dict[str, Tensor]] = [{} for _ in range(recipe.schedule.accumulation)]
        if saved is not None:
            self._continue(saved)

    @property
    def ema_weights(self) -> Classifier | None:
        """The model with the average of its weights; None without an average, and before its first epoch."""
        if not self.average or self.average.n_averaged == 0:
            return None
        average: Classifier = self.average.module  # type: ignore[assignment]  # a copy of the model
        return average

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors, named ``section.name`` and equal in all processes, each of which has to call this."""
        sections = {
            "model": self.model.state_dict(),
            **{section: self._of_optimiser(key) for key, section in OPTIMISER_SECTIONS.items()},
            "average": self.ema_weights.state_dict() if self.ema_weights else {},
            "memory": self._memory_of_all(),
            "scaler": {name: torch.tensor(value) for name, value in self.scaler.state_dict().items()},
        }
        return {f"{section}.{name}": tensor for section, named in sections.items() for name, tensor in named.items()}

    def _of_optimiser(self, key: str) -> dict[str, Tensor]:
        """Return what the optimiser keeps under `key` of each parameter, by the parameter's name."""
        states = {name: self.optimiser.state.get(each, {}) for name, each in self.model.named_parameters()}
        return {name: torch.as_tensor(state[key]) for name, state in states.items() if state.get(key) is not None}

    def _continue(self, saved: Mapping[str, Tensor]) -> None:
        for key, section in OPTIMISER_SECTIONS.items():
            tensors = _section(saved, section)
            for name, parameter in self.model.named_parameters():
                if name in tensors:
                    # Optimisers count their steps on the CPU.
                    device = "cpu" if key == "step" else parameter.device
                    self.optimiser.state[parameter][key] = tensors[name].to(device)
        if self.average and (average := _section(saved, "average")):
            self.average.module.load_state_dict(average)
            # Any count but zero: at zero, the next update would copy the weights instead of averaging them.
            self.average.n_averaged.fill_(1)
        for name, tensor in _section(saved, "memory").items():
            # Its rows lie as [micro-batch, rank, row of the micro-batch], flattened, whatever the world size was at the
            # save: so every chunk is one process's rows of one micro-batch.
            shares = tensor.chunk(len(self.memory) * self.group.size)[self.group.rank :: self.group.size]
            for memory, share in zip(self.memory, shares, strict=True):
                memory[name] = share.to(self.model.mean.device, copy=True)
        if scaler := _section(saved, "scaler"):
            self.scaler.load_state_dict({name: value.item() for name, value in scaler.items()})

    def _memory_of_all(self) -> dict[str, Tensor]:
        """Return the objective's memory [rows of the batch, ...] of all processes, in the order of the batch.

        Every micro-batch has the same names. The memory of a batch is as large as its images: no other copy is made.
        """
        memory = {}
        for name, like in self.memory[0].items():
            # [micro-batch, rank and row of the micro-batch, ...]
            rows = like.new_empty(len(self.memory), self.group.size * len(like), *like.shape[1:])
            for of_all, micro_batch in zip(rows, self.memory, strict=True):
                if self.group.size == 1:
                    of_all.copy_(micro_batch[name])
                    continue
                with self.group.collective():
                    distributed.all_gather_into_tensor(of_all, micro_batch[name].contiguous())
            memory[name] = rows.flatten(0, 1)
        return memory


def _section(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the saved tensors of one section, such as ``model``, by their names without the section."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
