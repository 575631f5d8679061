"""Friendly adversarial training: PGD that stops early, so that images are not pushed far past the boundary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from nofrost.registry import configurable
from nofrost.train.objectives.ascent import Ascent
from nofrost.train.objectives.base import Adversary, Batch, Losses, count_correct
from nofrost.train.objectives.early_stopping import EarlyStopping
from nofrost.train.objectives.registry import register


@register("fat")
@configurable
class FriendlyAdversarialTraining(EarlyStopping):
    """The loss on early-stopped adversarial images alone (Zhang et al. 2020, Algorithm 2; wang2022 §2.1).

    Steps and step size of the attack are the recipe's. Images keep their place in the batch, where the authors' code
    sorts them by when they are let go.
    """

    fixes: ClassVar[Mapping[str, object]] = {"restarts": 1, "keep": "last"}

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        attack = Ascent(**adversary.settings(), **self.stopping(adversary))
        logits = model(adversary.craft(model, batch, attack))
        return Losses(self.cross_entropy(logits, batch.labels), {"adversarial": count_correct(logits, batch.labels)})
