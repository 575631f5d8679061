"""The boundary distance is one that an image can be moved, and not less than the closed form of a linear model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nofrost.evaluate.properties import boundary_distance


def test_a_linear_boundary_is_at_most_overestimated(two_classes: nn.Module, grey: tuple[Tensor, Tensor]) -> None:
    images, labels = grey
    logits = two_classes(images).detach()
    lead = (logits[:, 0] - logits[:, 1]) * torch.where(labels == 0, 1, -1)
    nearest = (lead / (two_classes.matrix[0] - two_classes.matrix[1]).detach().norm(p=1)).clamp(min=0)
    found = boundary_distance(two_classes, images, labels, queries=600)
    assert found.dtype == torch.float64
    assert (found[lead < 0] == 0).all()
    assert (found >= nearest - 1e-9).all()
    assert (found[lead > 0] < 1.5 * nearest[lead > 0] + 1e-3).all()


def test_where_no_boundary_is_found_the_distance_is_infinite(grey: tuple[Tensor, Tensor]) -> None:
    images, _ = grey
    always_first = lambda x: torch.stack([x.sum((1, 2, 3)), x.sum((1, 2, 3)) - 1], 1)  # noqa: E731
    found = boundary_distance(always_first, images, torch.zeros(40, dtype=torch.int64), queries=20)
    assert (found == math.inf).all()
