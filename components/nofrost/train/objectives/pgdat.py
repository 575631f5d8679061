"""Adversarial training on adversarial images alone (Madry et al. 2018; zeise2025 All_A; xie2020 100% adv + 0% clean)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective
from nofrost.train.objectives.registry import register


@register("pgdat")
@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Objective):
    """The loss on what the recipe's attack makes of the images; the clean ones are only its start."""

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(adversary.craft(model, batch))
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)
