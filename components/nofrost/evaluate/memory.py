"""How many images a device holds at once: told beforehand from its size, and mended when that was too many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nofrost.errors import UserError
from nofrost.evaluate.sample import Rows, batches
from nofrost.models.device import out_of_memory

MOST_ON_CPU = 128  # measured: with 512 small networks fall out of the caches and are a fifth to a half slower
MOST = 1024  # on an accelerator
SHARE_OF_CPU, SHARE = 1 / 4, 1 / 2  # of a device's memory that may be used; on the CPU others live there too
BACKWARD = 2  # memory of a pass there and back, in saved activations
COPIES = 24  # of an image that an attack holds at most: points, gradients, the best so far, noise

_CGROUPS = Path("/sys/fs/cgroup")


class Pieces:
    """Computes batches whole and, from the first one on that memory does not hold, in pieces of half the size.

    Args:
        device: where the work is done.
        what: the work in words, for the error.
    """

    def __init__(self, device: torch.device, what: str) -> None:
        self._device, self._what = device, what
        self._size: int | None = None

    @property
    def note(self) -> str:
        """What there is to say about the size; empty while batches are whole."""
        return "" if self._size is None else f"{self._size} images at once for want of memory"

    def compute(self, values_of: Callable[[Rows], NDArray[Any]], rows: Rows) -> NDArray[Any]:
        """Return the values of these rows, at least one.

        Raises:
            UserError: memory does not hold a single image.
        """
        while True:
            size = self._size or len(rows)
            try:
                return np.concatenate([values_of(part) for part in batches(rows, size)])
            except Exception as error:
                if not out_of_memory(error):
                    raise
            # here, and not above, the error no longer holds on to the tensors of the frames it went through
            self._halve(min(size, len(rows)))

    def _halve(self, size: int) -> None:
        if size == 1:
            raise UserError(
                f"the memory of {self._device} does not hold a single image under {self._what}: "
                "free some of it, or take a device with more"
            )
        self._size = size // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def fitting_batch_size(model: nn.Module, images: Tensor) -> int:
    """Return how many images the device of `images` can attack at once: a power of two, the same on equal devices.

    It is told from the activations that one image more makes autograd keep, and the total memory of the device, not
    from what happens to be free.

    Args:
        model: on that device, in evaluation mode.
        images: float32 [1, C, H, W].
    """
    device = images.device
    one, two = (_saved_bytes(model, images.repeat(count, 1, 1, 1)) for count in (1, 2))
    of_an_image = BACKWARD * max(0, two - one) + COPIES * images.nbytes
    weights = sum(tensor.nbytes for tensor in _held(model))
    usable = total_memory(device) * (SHARE_OF_CPU if device.type == "cpu" else SHARE)
    fitting = int(usable - weights - max(0, 2 * one - two)) // of_an_image
    most = MOST_ON_CPU if device.type == "cpu" else MOST
    return 1 << max(1, min(fitting, most)).bit_length() - 1


def _saved_bytes(model: nn.Module, images: Tensor) -> int:
    """Return how many bytes autograd keeps of a pass, weights not counted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in _held(model)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(images.detach().requires_grad_())  # held, so that no memory is given away and counted as one
    del logits
    return sum(size for place, size in kept.items() if place not in own)


def _held(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def total_memory(device: torch.device, cgroups: Path = _CGROUPS) -> int:
    """Return the memory of a device in bytes; on the CPU what the machine has and this process's control group allows.

    Args:
        cgroups: where Linux shows its control groups.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(cgroups)])


def _limits(cgroups: Path) -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, of both versions."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    paths = {line.split(":", 2)[2].lstrip("/") for line in lines if line.count(":") >= 2}
    groups = [base / path for base in (cgroups, cgroups / "memory") for path in paths]
    folders = {folder for group in groups for folder in (group, *group.parents) if folder.is_relative_to(cgroups)}
    for file in (folder / name for folder in folders for name in ("memory.max", "memory.limit_in_bytes")):
        text = file.read_text().strip() if file.is_file() else ""
        if text.isdecimal():  # "max" is none
            yield int(text)
