"""Cross-entropy on clean and adversarial images: st, pgdat, sat, and the variants mbnat and alp of sat."""

from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor, nn

from nofrost.attacks.random import Noise
from nofrost.config import AttackSpec
from nofrost.config.base import Share
from nofrost.errors import UserError
from nofrost.models import branch, has_mixture
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Batching, Losses, Objective, logits_of, register

# The stream of random numbers that picks the clean images which are trained on; attacks count theirs from 0.
_CLEAN_ROWS = 1 << 32


@register("st")
@configurable
class StandardTraining(Objective):
    """Standard training: the loss on clean images, without an attack."""

    robust_weight = 0.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(batch.images)
        return Losses.of(self.cross_entropy(logits, batch.labels), {"clean": logits}, batch.labels)


@register("pgdat")
@configurable
class AdversarialTraining(Objective):
    """Adversarial training on adversarial images alone (Madry et al. 2018; zeise2025 All_A; xie2020 100% adv + 0%
    clean): the loss on images under the recipe's attack."""

    robust_weight = 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(adversary.craft(model, batch))
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)


@register("sat")
@configurable
class StandardAdversarialTraining(Objective):
    """Standard adversarial training: (1 - λ) L(clean) + λ L(adversarial) (wang2022 Eq. 1).

    Args:
        adversarial_weight: λ. At 0 this is standard training and at 1 PGD-AT: the view without weight is then not
            computed.
        batching: ``joint`` or ``separate``: one forward pass for both views, or one each.
        clean_share: the share of a batch's clean images that is trained on, rounded to whole images and drawn again at
            each step (xie2020 §4.1, Fig. 1), from the images that a process has at once, or from each group of
            ``model.batch_statistics``. The loss is the mean over the remaining images, each with the weight 1 - λ
            or λ of its view, so that 0 is PGD-AT for any λ.

    Raises:
        UserError: a setting is out of its range, or no image remains to train on.
    """

    adversarial_weight: Share = 0.5
    batching: Batching = "separate"
    clean_share: Share = 1.0

    @model_validator(mode="after")
    def _some_image_is_trained_on(self) -> Self:
        if self.adversarial_weight == 0 and self.clean_share == 0:
            raise ValueError("adversarial_weight 0 and clean_share 0 leave no image to train on: raise one of them")
        return self

    @property
    def robust_weight(self) -> float:
        return self._weights(self.clean_share, 1)["adversarial"]

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {}
        labels: dict[str, Tensor] = {}
        if self.adversarial_weight < 1 and self.clean_share > 0:
            rows = self._clean_rows(batch, adversary.seed)
            images["clean"], labels["clean"] = batch.images[rows], batch.labels[rows]
        if self.adversarial_weight > 0:
            # The attack sees the adversarial branch of a mixture; other models have no branches.
            with branch(model, "adversarial"):
                images["adversarial"], labels["adversarial"] = adversary.craft(model, batch), batch.labels
        return self.combined(logits_of(model, images, self.batching, batch.groups), labels)

    def combined(self, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Losses:
        """Return the weighted loss of the logits [N, K] and labels [N] of the views."""
        weights = self._weights(len(labels.get("clean", ())), len(labels.get("adversarial", ())))
        losses = [weights[view] * self.cross_entropy(scores, labels[view]) for view, scores in logits.items()]
        return Losses.of(sum(losses[1:], losses[0]), logits, labels)

    def _weights(self, clean: float, adversarial: float) -> dict[str, float]:
        """Return the weight of the mean loss of each view, for this number of images of each."""
        counts = {"clean": (1 - self.adversarial_weight) * clean, "adversarial": self.adversarial_weight * adversarial}
        return {view: count / sum(counts.values()) for view, count in counts.items()}

    def _clean_rows(self, batch: Batch, seed: int) -> Tensor | slice:
        """Return the rows of the clean images that are trained on, equally many of each group of batch statistics and
        at least one, in the order of the batch."""
        if self.clean_share == 1:
            return slice(None)
        random_keys = Noise.of(seed, batch.indices).stream(_CLEAN_ROWS).integers((), 1 << 31).view(batch.groups, -1)
        size = random_keys.shape[1]
        picked = random_keys.argsort(stable=True)[:, : max(1, round(self.clean_share * size))].sort().values
        first = torch.arange(0, len(batch.labels), size, device=picked.device)
        return (picked + first[:, None]).flatten()


@register("mbnat")
@configurable
class MixtureAdversarialTraining(StandardAdversarialTraining):
    """Mixture-BN adversarial training (xie2020 §4.2): the loss of wang2022 Eq. 1 with each view in its own branch of
    the batch norms; the attack is made against the adversarial branch.

    With batching `joint` one forward pass carries both views and every mixture layer splits it, so that each parameter
    gets its gradient in one pass.

    Raises:
        UserError: a setting is out of its range, or leaves a branch without images.
    """

    @model_validator(mode="after")
    def _both_branches_are_trained(self) -> Self:
        if not 0 < self.robust_weight < 1:
            raise ValueError(
                "objective 'mbnat' trains a branch for each view: set adversarial_weight between 0 and 1 and "
                "clean_share above 0"
            )
        return self

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        if not has_mixture(model):
            raise UserError("objective 'mbnat' needs mixture batch norm: set model.normaliser to mbn")


@register("alp")
@configurable
class AdversarialLogitPairing(StandardAdversarialTraining):
    """Adversarial logit pairing (xie2020 §4.1, App. A): the loss of standard adversarial training + w · the mean
    squared difference of z(clean) and z(adversarial).

    The mean is over images and classes, as in the code of Kannan et al. 2018. A model with mixture batch norm sees each
    view in its own branch (xie2020: MBN, ALP), and the attack is made against the adversarial one.

    Args:
        batching: ``joint`` by default, as xie2020 mixes both views in one mini-batch.
        pairing_weight: w, at least 0. xie2020 does not state it; 0.5 is what Kannan et al. 2018 took on ImageNet.

    Raises:
        UserError: a setting is out of its range, or leaves an adversarial image without its clean one.
    """

    batching: Batching = "joint"
    pairing_weight: NonNegativeFloat = 0.5

    @model_validator(mode="after")
    def _every_image_has_its_pair(self) -> Self:
        if self.clean_share < 1:
            raise ValueError("ALP without clean images has no pairs: leave clean_share at 1, or use objective sat")
        if not 0 < self.adversarial_weight < 1:
            raise ValueError(
                f"ALP pairs clean with adversarial images, but adversarial_weight {self.adversarial_weight:g} leaves "
                "out one view: set it between 0 and 1"
            )
        return self

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        """Accept any model: with and without mixture batch norm."""

    def combined(self, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Losses:
        losses = super().combined(logits, labels)
        distance = F.mse_loss(logits["adversarial"], logits["clean"])
        return replace(losses, loss=losses.loss + self.pairing_weight * distance)
