"""The images that the models are trained and attacked on."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nofrost.prepare.sources.base import Part, SourceData
from nofrost.prepare.sources.cifar10 import FOLDER, Cifar10
from nofrost.prepare.sources.in_memory import Idx

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
    if dataset == "mnist":
        return Idx(path=str(data / "mnist")).open()
    unpack = data / "cifar10" / "unpack.py"
    if not unpack.exists():
        return Cifar10(path=str(data / "cifar10")).open()
    if not (folder / FOLDER).exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(unpack), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return Cifar10(path=str(folder)).open()


def read(part: Part, count: int | None = None) -> Batch:
    """Return the first `count` images of a part of a source; all without `count`."""
    rows = np.arange(len(part.labels))[:count]
    pixels = torch.from_numpy(np.concatenate(list(part.read(rows))))
    images = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255
    return images, torch.from_numpy(part.labels[rows])
