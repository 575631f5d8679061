"""Auto-PGD on the difference-of-logits ratio."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from nofrost.attacks.apgd import Apgd
from nofrost.attacks.base import Followed
from nofrost.attacks.losses import dlr, margin
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("apgd-dlr")
@configurable
class ApgdDlr(Apgd):
    """Auto-PGD that maximises the difference-of-logits ratio (Croce & Hein 2020); it needs at least 3 classes."""

    follows: ClassVar[Followed] = "dlr"
    min_classes: ClassVar[int] = 3
    cross_entropy_twin: ClassVar[str] = "apgd-ce"

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return dlr(logits, goals)


@configurable
class ApgdMargin(ApgdDlr):
    """The same on the plain margin: what stands in for `ApgdDlr` where a model has two classes."""

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return margin(logits, goals)
