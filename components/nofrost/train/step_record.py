"""What one step of a phase did: model passes, updates, images and processes, for the record of a training."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from nofrost.models import MixtureBatchNorm
from nofrost.models.layers import BatchNorm
from nofrost.processes import ProcessGroup
from nofrost.results import StepRecord
from nofrost.train.optimiser import describe
from nofrost.train.phase_state import PhaseState
from nofrost.train.setup import Phase


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


def step_record(
    phase: Phase,
    tensors: PhaseState,
    group: ProcessGroup,
    images: Mapping[str, int],
    updates: int,
    trace: StepTrace,
) -> StepRecord:
    """Return what a step did in all processes.

    Args:
        images: of this process, by view.
        updates: of the weights.
        trace: of this process.
    """
    totals = group.total({view: torch.tensor(count) for view, count in images.items()})
    return StepRecord(
        images={view: int(count) for view, count in totals.items()},
        image_size=phase.images.image_size,
        attack=phase.attack() if "adversarial" in images else None,
        **asdict(trace),
        updates=updates,
        trained_parameters=tensors.partial.trained,
        optimiser=describe(tensors.optimiser),
        world_size=group.size,
        images_per_rank=phase.images.images_per_rank,
        accumulation=phase.images.accumulation,
    )
