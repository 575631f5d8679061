"""The basic iterative method."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import Ball
from nofrost.attacks.projected_gradient import ProjectedGradient
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("bim")
@configurable
class Bim(ProjectedGradient):
    """Projected gradient ascent from the clean image, without random start (Kurakin et al. 2017; galloway2019)."""

    random_start: ClassVar[bool] = False

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.centre
