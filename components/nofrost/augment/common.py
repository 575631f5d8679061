"""What all methods share: batches, the device, and how alike two images are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.telemetry import progress

_BATCH_PIXELS = 1 << 20
_SMALL_PIXELS = 64 * 64


def batches(count: int, height: int, width: int) -> list[slice]:
    """Return consecutive slices of `count` rows: up to 64 images, fewer when they are large."""
    length = max(1, min(64, _BATCH_PIXELS // (height * width)))
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


@contextmanager
def reproducible_device() -> Iterator[torch.device]:
    """Yield the GPU if there is one, else the CPU, with only such GPU algorithms as repeat their results exactly."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield device


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Let PyTorch work in one thread on the CPU, if `when`."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def small(images: NDArray[np.uint8]) -> bool:
    """Return whether images [N, H, W, C] are so small that threads would wait for each other more than they work."""
    return bool(images.shape[1] * images.shape[2] < _SMALL_PIXELS)


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of brightness over the pixels of each pair, [N]; 0 where an image is constant or not
    finite. Images are float [N, C, H, W]."""
    pairs = []
    for each in (images, others):
        brightness = each.mean(dim=1).flatten(1)
        pairs.append(brightness - brightness.mean(dim=1, keepdim=True))
    first, second = pairs
    norms = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norms > 1e-6, (first * second).sum(dim=1) / norms, 0.0).nan_to_num(0.0, 0.0, 0.0)


def reported(title: str, made: Iterable[NDArray[np.uint8]], total: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the batches as they come and show the progress over `total` images."""
    with progress(title, total=total) as bar:
        for batch in made:
            yield batch
            bar.advance(len(batch))
