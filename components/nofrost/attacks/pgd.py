"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nofrost.attacks import settings
from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import Ball
from nofrost.attacks.projected_gradient import ProjectedGradient
from nofrost.attacks.registry import register


@register("pgd")
@dataclass(frozen=True, kw_only=True)
class Pgd(ProjectedGradient):
    """Projected gradient ascent from random points of the ball (Madry et al. 2018; wang2022 §2.1, zeise2025, galloway2019).

    A start is uniform in the ball (in l2: in direction and distance), and cut by the box before the first gradient.

    Args:
        restarts: how many starts, at least 1. Per image the first misclassified result is kept, or else the one with
            the highest loss.
    """

    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.whole("restarts", self.restarts, minimum=1)

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.random_inside(noise)

    def attempts(self) -> int:
        return self.restarts
