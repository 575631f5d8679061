"""Standard adversarial training: (1 - λ) L(clean) + λ L(adversarial) (wang2022 Eq. 1)."""

from __future__ import annotations

from torch import Tensor, nn

from nofrost.attacks import settings
from nofrost.attacks.random import Noise
from nofrost.errors import UserError
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.views import BATCHINGS, logits_of

# The stream that picks the clean images which stay; attacks count theirs from 0
_KEPT = 1 << 32


@register("sat")
@configurable
class StandardAdversarialTraining(Objective):
    """The weighted loss on clean and adversarial images.

    Args:
        adversarial_weight: λ. At 0 this is standard training and at 1 PGD-AT: the view without weight is then not
            computed.
        batching: ``joint`` or ``separate``: one forward pass for both kinds of images, or one each.
        clean_share: the share of a batch's clean images that is trained on, in whole images, drawn anew at each step
            (xie2020 §4.1, Fig. 1). The loss is the mean over the images that are left, each with the weight 1 - λ or λ of
            its kind, so that 0 is PGD-AT at any λ.

    Raises:
        UserError: a setting is out of its range, or no image is left to train on.
    """

    adversarial_weight: float = 0.5
    batching: str = "separate"
    clean_share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.share("adversarial_weight", self.adversarial_weight)
        settings.choice("batching", self.batching, BATCHINGS)
        settings.share("clean_share", self.clean_share)
        if self.adversarial_weight == 0 and self.clean_share == 0:
            raise UserError("adversarial_weight 0 and clean_share 0 leave no image to train on: raise one of them")

    @property
    def robust_weight(self) -> float:
        return self._weights(self.clean_share, 1)["adversarial"]

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        if self.adversarial_weight < 1 and self.clean_share > 0:
            rows = self._kept(batch, adversary.seed)
            images["clean"], labels["clean"] = batch.images[rows], batch.labels[rows]
        if self.adversarial_weight > 0:
            images["adversarial"], labels["adversarial"] = adversary.craft(model, batch), batch.labels
        return self.combined(logits_of(model, images, self.batching), labels)

    def combined(self, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Losses:
        """Return the weighted loss of the logits [N, K] and labels [N] of each kind that is there."""
        weights = self._weights(len(labels.get("clean", ())), len(labels.get("adversarial", ())))
        losses = [weights[kind] * self.cross_entropy(part, labels[kind]) for kind, part in logits.items()]
        correct = {kind: count_correct(part, labels[kind]) for kind, part in logits.items()}
        return Losses(sum(losses[1:], losses[0]), correct)

    def _weights(self, clean: float, adversarial: float) -> dict[str, float]:
        """Return how much the mean loss of each kind counts, for so many images of each."""
        parts = {"clean": (1 - self.adversarial_weight) * clean, "adversarial": self.adversarial_weight * adversarial}
        return {kind: part / sum(parts.values()) for kind, part in parts.items()}

    def _kept(self, batch: Batch, seed: int) -> Tensor | slice:
        """Return which clean images are trained on, at least one, in the batch's order."""
        if self.clean_share == 1:
            return slice(None)
        count = max(1, round(self.clean_share * len(batch.labels)))
        lots = Noise.of(seed, batch.indices).stream(_KEPT).integers((), 1 << 31)
        return lots.argsort(stable=True)[:count].sort().values
