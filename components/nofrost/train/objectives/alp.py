"""Adversarial logit pairing: adversarial training that also draws each pair of logits together (xie2020 §4.1, App. A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.attacks import settings
from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import branch
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.sat import StandardAdversarialTraining


@register("alp")
@configurable
class AdversarialLogitPairing(StandardAdversarialTraining):
    """The loss of standard adversarial training + w · the mean squared difference of z(clean) and z(adversarial).

    The mean is over images and classes, as in the code of Kannan et al. 2018. A model with mixture batch norm sees each
    kind of image in its own branch (xie2020: MBN, ALP), and the attack is made against the adversarial one.

    Args:
        batching: ``joint`` by default, as xie2020 mixes both kinds in one mini-batch.
        pairing_weight: w, at least 0. xie2020 does not state it; 0.5 is what Kannan et al. 2018 took on ImageNet.

    Raises:
        UserError: a setting is out of its range, or an adversarial image is left without its clean one.
    """

    batching: str = "joint"
    pairing_weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.number("pairing_weight", self.pairing_weight, minimum=0)
        if self.clean_share < 1:
            raise UserError("ALP without clean images has no pairs: leave clean_share at 1, or use objective sat")
        if not 0 < self.adversarial_weight < 1:
            raise UserError(
                f"ALP pairs clean with adversarial images, but adversarial_weight {self.adversarial_weight:g} leaves "
                "out one kind: set it between 0 and 1"
            )

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        """Accept any model: with and without mixture batch norm."""

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        with branch(model, "adversarial"):
            return super().loss(model, batch, adversary)

    def combined(self, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Losses:
        losses = super().combined(logits, labels)
        distance = F.mse_loss(logits["adversarial"], logits["clean"])
        return Losses(losses.loss + self.pairing_weight * distance, losses.correct)
