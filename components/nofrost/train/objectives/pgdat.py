"""Adversarial training on adversarial images alone (Madry et al. 2018; zeise2025 All_A; xie2020 100% adv + 0% clean)."""

from __future__ import annotations

from torch import nn

from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register


@register("pgdat")
@configurable
class AdversarialTraining(Objective):
    """The loss on what the recipe's attack makes of the images; the clean ones are only its start."""

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(adversary.craft(model, batch))
        return Losses(self.cross_entropy(logits, batch.labels), {"adversarial": count_correct(logits, batch.labels)})
