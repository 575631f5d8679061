"""The images that the models are trained and attacked on."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nofrost.config import DatasetSpec
from nofrost.prepare.sources import Part, SourceData, open_source, resolve_source

Batch = tuple[Tensor, Tensor]
"""Images [N, C, H, W] in [0, 1], float32, and labels [N] int64."""


@cache
def source(dataset: str, data: Path, folder: Path) -> SourceData:
    """Return CIFAR-10 or MNIST.

    Args:
        dataset: ``cifar10`` or ``mnist``.
        data: the folder that holds ``cifar10`` and ``mnist``.
        folder: where a ``cifar10/unpack.py`` may write the published layout to, once.
    """
    path, unpack = data / dataset, data / "cifar10" / "unpack.py"
    if dataset == "cifar10" and unpack.exists():
        path = folder
        if not (folder / "cifar-10-batches-py").exists():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, str(unpack), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return open_source(resolve_source(DatasetSpec(source=dataset, path=str(path))))


def read(part: Part, count: int | None = None) -> Batch:
    """Return the first `count` images of a part of a source; all without `count`."""
    rows = np.arange(len(part.labels))[:count]
    pixels = torch.from_numpy(np.concatenate(list(part.read(rows))))
    images = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255
    return images, torch.from_numpy(part.labels[rows])
