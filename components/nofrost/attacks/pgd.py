"""Projected gradient descent."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import Ball
from nofrost.attacks.projected_gradient import ProjectedGradient
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("pgd")
@configurable
class Pgd(ProjectedGradient):
    """Projected gradient ascent from random points of the ball (Madry et al. 2018; wang2022 §2.1, zeise2025, galloway2019).

    A start is uniform in the ball (in l2: in direction and distance), and cut by the box before the first gradient.

    Args:
        restarts: how many starts, at least 1. Per image the first misclassified result is kept, or else the one with
            the highest loss.
    """

    restarts: PositiveInt = 1

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.random_inside(noise)

    def attempts(self) -> int:
        return self.restarts
