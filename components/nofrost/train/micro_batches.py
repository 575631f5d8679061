"""Gradient accumulation: the micro-batches of a process's rows of a batch follow one another for one update."""

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, Losses, Objective
from nofrost.train.step_record import StepTrace

T = TypeVar("T")


class MicroBatches:
    """The micro-batches of a step, whose gradients are added up for each of its updates.

    Args:
        model: moves a micro-batch to its device when its turn comes.
        parts: equally large.
        memory: of the objective, for each part.
    """

    def __init__(
        self,
        objective: Objective,
        model: Classifier,
        parts: Sequence[Batch],
        adversary: Adversary,
        memory: Sequence[dict[str, Tensor]],
    ) -> None:
        def updates(part: Batch, memory_of_part: dict[str, Tensor]) -> Generator[Losses]:
            yield from objective.updates(model, part.to(model.mean.device), adversary, memory_of_part)

        self._model = model
        self._has_one_update = type(objective).updates is Objective.updates
        self._updates = [updates(part, memory_of_part) for part, memory_of_part in zip(parts, memory, strict=True)]

    def backward(self, scaler: torch.amp.GradScaler, trace: StepTrace | None) -> list[Losses]:
        """Add up the gradients of the next loss of each micro-batch, whose mean is the loss of the next update.

        Args:
            scaler: of the loss.
            trace: counts the passes of the first micro-batch alone.

        Returns:
            These losses; none after the last update.
        """
        done: list[Losses] = []
        for part, updates in as_one_batch(self._model, list(enumerate(self._updates))):
            if trace:
                trace.is_counting = part == 0
            # The objective Free continues after an update, with the gradient that the pass has left on its noise.
            if losses := next(updates, None):
                scaler.scale(losses.loss / len(self._updates)).backward()  # type: ignore[no-untyped-call]
                done.append(losses)
            if self._has_one_update:
                # It would keep the images on the device until the last micro-batch is done.
                updates.close()
        return done


def as_one_batch(model: nn.Module, parts: Sequence[T]) -> Iterator[T]:
    """Yield the parts of a batch one after the other, to each of which `model` has the buffers that it has now.

    At the end floating-point buffers (running statistics) have the mean of what they became in each part, as
    :meth:`nofrost.processes.ProcessGroup.average_buffers` makes them of parts in several processes; integer ones, which
    count the passes of a part, are those of the last.
    """
    if len(parts) == 1:
        yield parts[0]
        return
    buffers = list(model.buffers())
    floating = [buffer for buffer in buffers if buffer.is_floating_point()]
    before = [buffer.clone() for buffer in buffers]
    # In float64 the mean of equal values is exactly that value, as it must be for the input normaliser.
    sums = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in floating]
    for part in parts:
        torch._foreach_copy_(buffers, before)
        yield part
        torch._foreach_add_(sums, [buffer.double() for buffer in floating])
    torch._foreach_div_(sums, len(parts))
    torch._foreach_copy_(floating, sums)
