"""Tilting of a linear decision boundary."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nofrost.errors import UserError


def tilting_angle(weight: Tensor, reference: Tensor) -> float:
    """Return the angle between two linear decision boundaries in degrees, from 0 to 90 (Tanay & Griffin 2016; galloway2019 §3).

    galloway2019's reference is the nearest-centroid classifier, whose weights are the difference of the two class means. Weights
    behind a batch norm belong to its output: divide them by sqrt(variance + eps) first.

    Args:
        weight: weights of a classifier of two classes, of any shape; their sign does not matter.
        reference: weights of the other one, as many.

    Raises:
        UserError: there are not as many weights in both, or all weights of one are zero.
    """
    first, second = weight.detach().flatten().cpu().double(), reference.detach().flatten().cpu().double()
    if first.shape != second.shape:
        raise UserError(f"a tilting angle needs as many weights in both, got {len(first)} and {len(second)}")
    lengths = float(first.norm()), float(second.norm())
    if not all(0 < length < math.inf for length in lengths):
        raise UserError("a tilting angle needs weights that are finite and not all zero")
    first, second = first / lengths[0], second / lengths[1]
    second = torch.copysign(torch.ones(()), first @ second) * second
    # exact for small angles too, where the arc cosine is not
    return math.degrees(2 * math.atan2(float((first - second).norm()), float((first + second).norm())))
