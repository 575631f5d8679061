"""FAB: the fast adaptive boundary attack."""

from __future__ import annotations

import torch
from torch import Tensor

from nofrost.attacks.classifier import Classifier
from nofrost.attacks.fast_adaptive_boundary import FastAdaptiveBoundary
from nofrost.attacks.hyperplane import distance_to_plane
from nofrost.attacks.norms import per_image
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("fab")
@configurable
class Fab(FastAdaptiveBoundary):
    """FAB towards the nearest of all classes, as far as their linearised boundaries tell (Croce & Hein 2020).

    A step takes C - 1 backward passes for C classes: for hundreds of classes take `fab-t`, as AutoAttack does.
    """

    def goals(self, logits: Tensor, labels: Tensor) -> Tensor:
        return labels[:, None]

    def linearise(self, model: Classifier, points: Tensor, labels: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        nearest = torch.full_like(points[:, 0, 0, 0], torch.inf)
        margin, normal = torch.zeros_like(nearest), torch.zeros_like(points)
        # one class at a time: the gradients of a thousand classes would not fit in memory together
        for value, gradient in model.margins(points, labels):
            distance = distance_to_plane(gradient, value, self.norm)
            nearer = distance < nearest
            nearest = torch.where(nearer, distance, nearest)
            margin = torch.where(nearer, value, margin)
            normal = torch.where(per_image(nearer), gradient, normal)
        return margin, normal
