"""The momentum iterative method."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from nofrost.attacks.bim import Bim
from nofrost.attacks.registry import register
from nofrost.registry import configurable

_IMAGE = (1, 2, 3)


@register("mim")
@configurable
class Mim(Bim):
    """BIM along a running sum of gradients, each divided by its L1 norm (Dong et al. 2018, algorithm 1; MIA in wang2022).

    The step is that of the other attacks here; Dong et al. take eps / steps.

    Args:
        decay: what is kept of the running sum at each step, at least 0; 0 is BIM.
    """

    momentum: ClassVar[bool] = True

    decay: NonNegativeFloat = 1.0

    def follow(self, gradient: Tensor, followed: Tensor | None) -> Tensor:
        # by its largest entry first: the sum of a vanishing gradient would round to zero
        peak = gradient.abs().amax(_IMAGE, keepdim=True)
        scaled = gradient / torch.where(peak > 0, peak, 1.0)
        length = scaled.abs().mean(_IMAGE, keepdim=True)
        unit = scaled / torch.where(length > 0, length, 1.0)
        return unit if followed is None else torch.add(unit, followed, alpha=self.decay)
