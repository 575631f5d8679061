"""Projected gradient descent on the margin between logits."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat
from torch import Tensor

from nofrost.attacks.base import Followed
from nofrost.attacks.losses import margin
from nofrost.attacks.pgd import Pgd
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("cw-linf")
@configurable
class CwLinf(Pgd):
    """PGD that maximises the margin between the best wrong logit and the label's, up to `confidence`.

    The loss is that of Carlini & Wagner 2017, f6, the search is not theirs: what wang2022 and its peers report as CW.

    Args:
        confidence: by how much the wrong logit may lead before the loss stops rising, at least 0.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    follows: ClassVar[Followed] = "margin"
    cross_entropy_twin: ClassVar[str] = "pgd"

    confidence: NonNegativeFloat = 50.0

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return margin(logits, goals).clamp(max=self.confidence)
