"""What all methods share: batches, the device, and how alike two images are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.telemetry import progress

_BATCH_PIXELS = 1 << 20
SMALL_PIXELS = 64 * 64  # of an image; smaller ones are worked on in one thread


def batches(count: int, height: int, width: int) -> list[slice]:
    """Return consecutive slices of `count` rows: up to 64 images, fewer when they are large."""
    length = max(1, min(64, _BATCH_PIXELS // (height * width)))
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


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
