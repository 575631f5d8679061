"""What tells two models, and two sets of images, apart."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import nn

from nofrost.evaluate.sample import Sample, batches

_READ_AT_ONCE = 256


def model_sha256(model: nn.Module) -> str:
    """Return one SHA-256 of a model's ``repr`` and of everything in its state dictionary."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def sample_sha256(sample: Sample) -> str:
    """Return one SHA-256 of all images, labels and indices."""
    digest = hashlib.sha256(sample.labels.astype("<i8").tobytes() + sample.indices.astype("<i8").tobytes())
    for rows in batches(np.arange(len(sample)), _READ_AT_ONCE):
        digest.update(sample.read(rows).contiguous().numpy().tobytes())
    return digest.hexdigest()
