"""Standard adversarial training: (1 - λ) L(clean) + λ L(adversarial) (001 Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.views import logits_of


@register("sat")
@dataclass(frozen=True, kw_only=True)
class StandardAdversarialTraining(Objective):
    """The weighted loss on clean and adversarial images.

    Args:
        adversarial_weight: λ. At 0 this is standard training and at 1 PGD-AT: the view without weight is then not
            computed.
        batching: ``joint`` or ``separate``: one forward pass for both kinds of images, or one each.
    """

    adversarial_weight: float = 0.5
    batching: str = "separate"

    @property
    def robust_weight(self) -> float:
        return self.adversarial_weight

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {}
        if self.adversarial_weight < 1:
            images["clean"] = batch.images
        if self.adversarial_weight > 0:
            images["adversarial"] = adversary.craft(model, batch)
        return self.weighted(logits_of(model, images, self.batching), batch.labels)

    def weighted(self, logits: dict[str, Tensor], labels: Tensor) -> Losses:
        """Return (1 - λ) L(clean) + λ L(adversarial) of the logits that are there."""
        weights = {"clean": 1 - self.adversarial_weight, "adversarial": self.adversarial_weight}
        losses = [weights[kind] * self.cross_entropy(part, labels) for kind, part in logits.items()]
        return Losses(sum(losses[1:], losses[0]), {kind: count_correct(part, labels) for kind, part in logits.items()})
