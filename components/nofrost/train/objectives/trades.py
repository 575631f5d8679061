"""TRADES: cross-entropy on clean images, and how far an attack can move the prediction (Zhang et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from nofrost.attacks import Attack, settings
from nofrost.registry import configurable
from nofrost.train.objectives.ascent import DivergenceAscent, divergence
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.views import BATCHINGS, logits_of


@register("trades")
@configurable
class Trades(Objective):
    """L(clean) + β KL(p(clean) || p(adversarial)), the mean over images (Zhang et al. 2019, Eq. 5; wang2022 §4.1).

    The divergence has a gradient through both predictions, and the attack climbs it; steps and step size are the
    recipe's. Here the two kinds of images pass the model once each, so that batch statistics move twice a step. The
    authors' code passes the clean images twice, once for each term: there they move three times.

    Args:
        beta: β, at least 0; 1 in wang2022, 6 in the code of Zhang et al. At 0 this is standard training, without attack.
        batching: ``joint`` or ``separate``, as in standard adversarial training.

    Raises:
        UserError: a setting is out of its range.
    """

    fixes: ClassVar[Mapping[str, object]] = {"restarts": 1, "keep": "last"}

    beta: float = 1.0
    batching: str = "separate"

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.number("beta", self.beta, minimum=0)
        settings.choice("batching", self.batching, BATCHINGS)

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
        logits = logits_of(model, images, self.batching)
        loss = self.cross_entropy(logits["clean"], batch.labels)
        if self.beta > 0:
            loss = loss + self.beta * divergence(logits["clean"], logits["adversarial"]).mean()
        return Losses(loss, {kind: count_correct(part, batch.labels) for kind, part in logits.items()})
