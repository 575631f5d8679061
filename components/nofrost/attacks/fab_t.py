"""FAB towards one wrong class after the other."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.classifier import Classifier
from nofrost.attacks.fast_adaptive_boundary import FastAdaptiveBoundary
from nofrost.attacks.losses import targeted_margin
from nofrost.attacks.registry import register
from nofrost.attacks.targets import likeliest_wrong
from nofrost.registry import configurable


@register("fab-t")
@configurable
class FabT(FastAdaptiveBoundary):
    """FAB towards the boundary between label and target, for one target after the other (Croce & Hein 2020b).

    The third attack of AutoAttack. A step takes one backward pass, however many classes there are. An image counts as
    fooled when it is taken for any wrong class.

    Args:
        targets: how many wrong classes to aim at, at least 1, the likeliest of the clean image first; at most all.
    """

    targeted: ClassVar[bool] = True

    targets: PositiveInt = 9

    def goals(self, logits: Tensor, labels: Tensor) -> Tensor:
        return likeliest_wrong(logits, labels, self.targets)

    def linearise(self, model: Classifier, points: Tensor, labels: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        margin, _, normal = model.differentiate(points, labels, targeted_margin, torch.stack([labels, goals], 1))
        return margin, normal
