"""Several processes that share every batch of a training: gradients and statistics are those of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar

import torch
from torch import Tensor, distributed, nn

from nofrost.models import default_device
from nofrost.processes import Processes

BUCKET_BYTES = 16 * 2**20


class World(Processes):
    """The processes of a training. Alone, nothing here does anything.

    Gradients are averaged once, after the backward pass, in a few large buckets: an adversarial step spends most of its
    time on the attack, which needs no communication, and any number of forward passes may precede one backward pass.
    GPU tensors travel by NCCL, and CPU tensors by gloo.
    """

    backend: ClassVar[str] = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    patience: ClassVar[timedelta] = timedelta(hours=2)  # the first process measures and writes, the others wait
    lost: ClassVar[str] = (
        "another process of this training has failed, see what it says: start again, and it goes on from the last save"
    )

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make the gradient of each trained parameter the mean over the processes, equal in all of them.

        A process whose loss did not reach a parameter counts as a gradient of zero; one that nobody reached stays
        without a gradient, as in one process.
        """
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        reached = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        self._reduce(reached, distributed.ReduceOp.MAX)
        gradients = []
        for parameter, by_some in zip(trained, reached.tolist(), strict=True):
            if by_some:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        self._average(gradients)

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Make each buffer of floating point (batch statistics) the mean over the processes, and each integer one (a
        count of batches) that of the first process.

        Once a step, so that all processes attack the same model, and a saved state does not depend on when it is saved.
        """
        if self.size == 1:
            return
        buffers = list(model.buffers())
        floating = [buffer for buffer in buffers if buffer.is_floating_point()]
        means = [buffer.double() for buffer in floating]  # exact where all are equal, as the input normaliser's are
        self._average(means)
        torch._foreach_copy_(floating, means)
        for bucket in _buckets([buffer for buffer in buffers if not buffer.is_floating_point()]):
            flat = _flat(bucket)
            with self.together():
                distributed.broadcast(flat, 0)
            torch._foreach_copy_(bucket, _parts(flat, bucket))

    def total(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum over the processes of each value, formed in float64, so that counts are exact.

        Args:
            values: with the same keys and shapes in every process, all on one device.
        """
        if self.size == 1 or not values:
            return dict(values)
        tensors = list(values.values())
        sums = _flat([tensor.detach().double() for tensor in tensors])
        self._reduce(sums)
        parts = _parts(sums, tensors)
        return {name: part.to(tensor.dtype) for (name, tensor), part in zip(values.items(), parts, strict=True)}

    def _average(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = _flat(bucket)
            self._reduce(flat)
            flat /= self.size
            torch._foreach_copy_(bucket, _parts(flat, bucket))

    def _reduce(self, tensor: Tensor, operation: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> None:
        with self.together():
            distributed.all_reduce(tensor, operation)


@contextmanager
def joined() -> Iterator[World]:
    """Yield the processes that torchrun started, each with its own GPU where there are GPUs; a world of one without it.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    with World.joined() as world:
        device = world.agree(default_device)
        if device.index is not None:
            torch.cuda.set_device(device)
        yield world


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in groups of one type and device, and of at most so many bytes if they are several."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for same in kinds.values():
        bucket: list[Tensor] = []
        for tensor in same:
            if bucket and tensor.nbytes + sum(other.nbytes for other in bucket) > BUCKET_BYTES:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _parts(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of `flat` in the shapes of the tensors that it was made of."""
    parts = flat.split_with_sizes([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
