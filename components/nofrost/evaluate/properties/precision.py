"""Answers of a model in numbers precise enough to be compared."""

from __future__ import annotations

import torch
from torch import Tensor


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the softmax of `logits` [N, C], in float64 where the device has it.

    A probability of float32 is exactly 1 from a margin of about 17 between logits, which would make its distance to 1,
    and a divergence, vanish.
    """
    return wide(logits).log_softmax(1)


def wide(values: Tensor) -> Tensor:
    """Return `values` in float64, or in float32 on Apple's devices, which have none."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)
