"""Auto-PGD on the difference-of-logits ratio."""

from __future__ import annotations

from torch import Tensor

from nofrost.attacks.apgd import Apgd
from nofrost.attacks.losses import dlr, margin
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("apgd-dlr")
@configurable
class ApgdDlr(Apgd):
    """Auto-PGD that maximises the difference-of-logits ratio (Croce & Hein 2020); it needs at least 3 classes."""

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return dlr(logits, goals)


@configurable
class ApgdMargin(ApgdDlr):
    """The same on the plain margin: what stands in for `ApgdDlr` where a model has two classes."""

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return margin(logits, goals)
