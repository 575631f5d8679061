"""Where models run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nofrost.errors import UserError
from nofrost.processes import rank_and_world_size

GRAIN = 32_768  # elements below which torch itself keeps an operation on one thread


def default_device() -> torch.device:
    """Return the first GPU, or for a process that torchrun started its own among those of its machine; the CPU where
    there is no GPU.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if rank_and_world_size()[1] == 1:
        return torch.device("cuda")
    place, seen = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= seen:
        raise UserError(f"process {place} of this machine has no GPU of its own: start at most {seen}, one for each")
    return torch.device("cuda", place)


def require_gpus(count: int) -> None:
    """Check that there are as many GPUs as were asked for, so that nothing trains for days on a CPU unseen.

    Raises:
        UserError: there are fewer.
    """
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < count:
        raise UserError(
            f"{count} GPUs were asked for and {seen} can be seen: run on a node that has them, with an image and "
            "driver for CUDA, or ask for 0"
        )


def out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory did not suffice, of an accelerator or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch has a class of its own for its allocator on accelerators only
    signs = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def refusing_lack_of_memory(sentence: str) -> Iterator[None]:
    """Raise a UserError that says `sentence` where memory does not suffice inside the block, of any device."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(sentence) from None


def device_name(device: torch.device) -> str:
    """Return the device in words: the GPU's name, or the CPU and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'' if threads == 1 else 's'}"


@contextmanager
def fitting_threads(device: torch.device, pixels: int) -> Iterator[None]:
    """Compute on one thread inside the block when a batch of so many pixels is too small to share among several.

    On small batches threads spend more time waiting for one another than they save, most of all on a busy machine
    (measured: 5 to 20 times slower). The rule looks at the batch alone, so that equal work has equal bits.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and pixels < GRAIN:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
