"""The basic iterative method."""

from __future__ import annotations

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

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.centre
