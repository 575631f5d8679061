"""TRADES: cross-entropy on clean images plus the change of the prediction under attack (Zhang et al. 2019)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from nofrost.attacks import Attack
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import Ball
from nofrost.attacks.random import Noise
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Batching, Losses, Objective, logits_of, register
from nofrost.train.objectives.friendly import Ascent, EarlyStopping

# The deviation of the start from the clean image, in pixels (Zhang et al. 2019, their code).
_START = 0.001


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Return KL(p(clean) || p(adversarial)) of each image, [N], from logits [N, K]; finite for all finite logits."""
    log_p, log_q = F.log_softmax(clean, 1), F.log_softmax(adversarial, 1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


@configurable
class DivergenceAscent(Ascent):
    """Ascent of KL(p(x) || p(x*)) from x + 0.001 · N(0, 1): the attack of TRADES (Zhang et al. 2019, Algorithm 1).

    The clean logits are computed once.
    """

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.project(ball.centre + _START * noise.normal(ball.centre.shape[1:], ball.centre.dtype))

    @torch.no_grad()
    def targets(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return model(images)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return divergence(targets, logits)


@register("trades")
@configurable
class Trades(Objective):
    """L(clean) + β KL(p(clean) || p(adversarial)), the mean over images (Zhang et al. 2019, Eq. 5; wang2022 §4.1).

    The gradient of the divergence flows through both predictions. The attack maximises the divergence with the recipe's
    steps and step size. Each view passes the model once, so that a step updates batch statistics twice; the authors'
    code passes the clean images twice, once for each term, and so updates them three times.

    Args:
        beta: β, at least 0; 1 in wang2022, 6 in the code of Zhang et al. At 0 this is standard training, without
            attack.
        batching: ``joint`` or ``separate``, as in standard adversarial training.

    Raises:
        UserError: a setting is out of its range.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"restarts": 1, "keep": "last"}

    beta: NonNegativeFloat = 1.0
    batching: Batching = "separate"

    @property
    def robust_weight(self) -> float:
        return self.beta / (1 + self.beta)

    def attack(self, adversary: Adversary) -> Attack:
        """Return the attack at this point of the training."""
        return DivergenceAscent(**adversary.settings())

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {"clean": batch.images}
        if self.beta > 0:
            images["adversarial"] = adversary.craft(model, batch, self.attack(adversary))
        logits = logits_of(model, images, self.batching, batch.groups)
        loss = self.cross_entropy(logits["clean"], batch.labels)
        if self.beta > 0:
            loss = loss + self.beta * divergence(logits["clean"], logits["adversarial"]).mean()
        return Losses.of(loss, logits, batch.labels)


@register("trades-fat")
@configurable
class FriendlyTrades(Trades, EarlyStopping):
    """The loss of TRADES on images whose attack stops early, as in FAT (Zhang et al. 2020, §4.3)."""

    def attack(self, adversary: Adversary) -> Attack:
        return DivergenceAscent(**adversary.settings(), **self.stopping(adversary))
