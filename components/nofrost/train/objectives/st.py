"""Standard training: cross-entropy on clean images."""

from __future__ import annotations

from torch import nn

from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register


@register("st")
@configurable
class StandardTraining(Objective):
    """The loss on the clean images; no attack is made."""

    @property
    def robust_weight(self) -> float:
        return 0.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(batch.images)
        return Losses(self.cross_entropy(logits, batch.labels), {"clean": count_correct(logits, batch.labels)})
