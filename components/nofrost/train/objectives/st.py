"""Standard training: cross-entropy on clean images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective
from nofrost.train.objectives.registry import register


@register("st")
@dataclass(frozen=True, kw_only=True)
class StandardTraining(Objective):
    """The loss on the clean images; no attack is made."""

    @property
    def robust_weight(self) -> float:
        return 0.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(batch.images)
        return Losses.of(self.cross_entropy(logits, batch.labels), {"clean": logits}, batch.labels)
