"""The group of processes that torchrun starts for one stage: rank, size, and collective operations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from nofrost.error_file import write_error
from nofrost.errors import PeerLostError, UserError, remark
from nofrost.heartbeat import watched
from nofrost.ranks import process_rank
from nofrost.system_errors import as_reported, exit_code_of_task

T = TypeVar("T")
# An all-reduce of a few large tensors is faster than one of many small ones.
BUCKET_BYTES = 16 * 2**20
# Rank 0 may save for long while the others wait for it. That a process is lost is noticed by its heartbeats, within a
# minute.
_TIMEOUT = timedelta(days=30)


class SharedError(UserError):
    """A UserError that every process of the group raises."""


# Results of NCCL that no other process causes (nccl.h), lack of memory, and of gloo tensors that do not fit each other,
# and a network interface that is not there.
_OF_THIS_PROCESS = re.compile(
    "ncclUnhandledCudaError|ncclInternalError|ncclInvalidArgument|ncclInvalidUsage|CUDA out of memory|"
    r"can't allocate memory|op\.preamble\.length|Unable to find address for"
)
_PEER_LOST = "another process has failed (its own error says why): start again"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a stage: this one has `rank` (from 0) among `size`. In a group of one, collectives do nothing.

    Every process must call the collectives in the same order; they raise PeerLostError when a peer is lost.

    Attributes:
        rank, size: of this process, and of the group.
        peer_lost_message: what a PeerLostError says, and what to do then.
        timeout: how long a collective waits for the slowest process.

    Gradients are averaged once, after the backward pass, in a few large buckets: an adversarial step spends most of its
    time on the attack, which needs no communication, and any number of forward passes may precede one backward pass.
    """

    rank: int = 0
    size: int = 1
    peer_lost_message: str = field(default=_PEER_LOST, compare=False)
    timeout: timedelta = field(default=_TIMEOUT, compare=False)

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes the shared files and prints."""
        return self.rank == 0

    @classmethod
    @contextmanager
    def joined(
        cls, peer_lost_message: str = _PEER_LOST, *, backend: str = "gloo", timeout: timedelta = _TIMEOUT
    ) -> Iterator[ProcessGroup]:
        """Yield the connected group of the processes that torchrun started; a group of one without torchrun.

        Args:
            peer_lost_message: the error when another process is lost, and what to do then.
            backend: the collective backend of torch.distributed, such as "gloo" or "nccl".
            timeout: how long a collective waits for the slowest process.
        """
        process = process_rank()
        if process.size == 1 or distributed.is_initialized():
            yield cls(process.rank, process.size, peer_lost_message, timeout)
            return
        group = cls(process.rank, process.size, peer_lost_message, timeout)
        try:
            with watched(process, peer_lost_message) as store:
                with group.collective():
                    distributed.init_process_group(
                        backend, store=store, rank=process.rank, world_size=process.size, timeout=timeout
                    )
                try:
                    yield group
                except Exception as error:
                    # Before the others lose this process and end, upon which the starter stops it.
                    if isinstance(reported := as_reported(error), UserError):
                        write_error(str(reported), exit_code_of_task(error, reported))
                    raise
        finally:
            # After the last sign to the others: it may wait for a kernel that waits for a lost process.
            if distributed.is_initialized():
                distributed.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in at least one process."""
        return bool(self.largest(int(flag)))

    def largest(self, number: int) -> int:
        """Return the largest of the numbers, from 0 to 255, that the processes pass."""
        if self.size == 1:
            return number
        largest = torch.tensor(number, dtype=torch.uint8)
        self._reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def barrier(self) -> None:
        """Wait until every process has called this."""
        self.any(False)

    def agree(self, make: Callable[[], T]) -> T:
        """Return this process's `make()` once it has succeeded in every process.

        Raises:
            SharedError: it failed in one of several; every process raises the same message.
        """
        if self.size == 1:
            return make()
        value, message = None, None
        try:
            value = make()
        except UserError as error:
            message = str(error)
        messages: list[str | None] = [None] * self.size
        with self.collective():
            distributed.all_gather_object(messages, message)
        for text in messages:
            if text is not None:
                raise SharedError(text)
        return value  # type: ignore[return-value]  # no process failed, so `make` returned a value

    def broadcast(self, value: T) -> T:
        """Return the value that rank 0 passes, in every process."""
        if self.size == 1:
            return value
        values = [value]
        with self.collective():
            distributed.broadcast_object_list(values)
        return values[0]

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors on the CPU that rank 0 passes, in every process; what others pass does not count."""
        if self.size == 1:
            return dict(tensors)
        described = self.broadcast([(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()])
        received = {}
        for name, dtype, shape in described:
            received[name] = tensors[name].contiguous() if self.is_rank_zero else torch.empty(shape, dtype=dtype)
            with self.collective():
                distributed.broadcast(received[name], 0)
        return received

    def subgroup_all_reduce(self, size: int) -> Callable[[Tensor], None]:
        """Return a function that sums a tensor, in place, over the subgroup of this process: the `size` processes whose
        ranks have the same quotient by `size`, which has to divide the number of all.

        Raises:
            PeerLostError: a peer is lost.
        """
        members: distributed.ProcessGroup | None = None
        if size < self.size:
            for first in range(0, self.size, size):
                # Every process has to make every group, also those that it is not in.
                with self.collective():
                    made = distributed.new_group(list(range(first, first + size)), timeout=self.timeout)
                if first <= self.rank < first + size:
                    members = made  # type: ignore[assignment]  # an int only for processes that are not in it

        def sum_over_subgroup(tensor: Tensor) -> None:
            with self.collective():
                distributed.all_reduce(tensor, group=members)

        return sum_over_subgroup

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Make the gradient of each trained parameter the mean over the processes, equal in all of them.

        A process whose loss did not reach a parameter counts as a gradient of zero; a parameter that no process reached
        keeps no gradient, as in one process.
        """
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        reached = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        self._reduce(reached, distributed.ReduceOp.MAX)
        gradients = []
        for parameter, has_gradient in zip(trained, reached.tolist(), strict=True):
            if has_gradient:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        self._average(gradients)

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Average floating-point buffers (batch statistics) over the processes; copy integer buffers from rank 0.

        To be called once a step: then all processes attack the same model, and a saved state does not depend on when it
        is saved. Integer buffers count batches.
        """
        if self.size == 1:
            return
        buffers = list(model.buffers())
        floating = [buffer for buffer in buffers if buffer.is_floating_point()]
        # In float64 the mean of equal values is exactly that value, as it must be for the input normaliser.
        means = [buffer.double() for buffer in floating]
        self._average(means)
        torch._foreach_copy_(floating, means)
        for bucket in _buckets([buffer for buffer in buffers if not buffer.is_floating_point()]):
            flat = _flat(bucket)
            with self.collective():
                distributed.broadcast(flat, 0)
            torch._foreach_copy_(bucket, _unflatten(flat, bucket))

    def total(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum over the processes of each value, computed in float64 so that counts are exact.

        Args:
            values: with the same keys and shapes in every process, all on one device.
        """
        if self.size == 1 or not values:
            return dict(values)
        tensors = list(values.values())
        flat = _flat([tensor.detach().double() for tensor in tensors])
        self._reduce(flat)
        sums = _unflatten(flat, tensors)
        return {name: total.to(tensor.dtype) for (name, tensor), total in zip(values.items(), sums, strict=True)}

    @contextmanager
    def collective(self) -> Iterator[None]:
        """Turn the loss of a peer into a PeerLostError; for code that needs every process.

        torch has no kind of error for it: it is every RuntimeError but those that say that this process is to blame.
        """
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or _OF_THIS_PROCESS.search(str(error)):
                raise
            raise PeerLostError(self.peer_lost_message) from error

    @contextmanager
    def report_local_error(self) -> Iterator[None]:
        """Print a UserError that only this process raises, as the command line prints only those of rank 0."""
        try:
            yield
        except UserError as error:
            if not self.is_rank_zero and not isinstance(error, SharedError):
                remark(f"process {self.rank} of {self.size}: {error}")
            raise

    def _average(self, tensors: Sequence[Tensor]) -> None:
        for bucket in _buckets(tensors):
            flat = _flat(bucket)
            self._reduce(flat)
            flat /= self.size
            torch._foreach_copy_(bucket, _unflatten(flat, bucket))

    def _reduce(self, tensor: Tensor, operation: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> None:
        with self.collective():
            distributed.all_reduce(tensor, operation)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield groups of tensors of one dtype and device, of at most BUCKET_BYTES where a group has several."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        bucket: list[Tensor] = []
        size = 0
        for tensor in group:
            if bucket and size + tensor.nbytes > BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
            bucket.append(tensor)
            size += tensor.nbytes
        yield bucket


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return `flat` split into views with the shapes of `tensors`."""
    pieces = flat.split_with_sizes([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
