"""Mixture-BN adversarial training (xie2020 §4.2): clean images pass one set of batch norms, adversarial ones the other."""

from __future__ import annotations

from torch import nn

from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import branch, has_mixture
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.sat import StandardAdversarialTraining


@register("mbnat")
@configurable
class MixtureAdversarialTraining(StandardAdversarialTraining):
    """The loss of wang2022 Eq. 1 with each kind of image in its own branch; the attack is made against the adversarial one.

    With batching `joint` one forward pass carries both kinds and every mixture layer splits it, so that each parameter
    gets its gradient in one pass.

    Raises:
        UserError: a setting is out of its range, or leaves a branch without images.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.robust_weight < 1:
            raise UserError(
                "objective 'mbnat' trains a branch for each kind of image: set adversarial_weight between 0 and 1 and "
                "clean_share above 0"
            )

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        if not has_mixture(model):
            raise UserError("objective 'mbnat' needs mixture batch norm: set model.normaliser to mbn")

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        with branch(model, "adversarial"):
            return super().loss(model, batch, adversary)
