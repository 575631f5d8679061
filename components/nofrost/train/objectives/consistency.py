"""The loss of AugMix: predictions on a clean image and on two mixtures of it are held together."""

import math

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Batching, Losses, Objective, logits_of, register


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of V predictions of each image, [N], from logits [V, N, K].

    It is the mean of KL(p || m) over the predictions p, where m is their mean: 0 where all agree, at most log V.
    """
    log_p = F.log_softmax(logits, dim=2)
    log_mean = log_p.logsumexp(dim=0, keepdim=True) - math.log(len(logits))
    return F.kl_div(log_mean.expand_as(log_p), log_p, reduction="none", log_target=True).sum(2).mean(0)


@register("augmix")
@configurable
class AugMixTraining(Objective):
    """L(x) + λ JS(p(x), p(x'), p(x'')), where x' and x'' are AugMix views of x (Hendrycks et al. 2020, §3).

    Args:
        consistency_weight: λ, at least 0; 12 in the paper.
        batching: ``joint``, as in the authors' code, or ``separate``: one forward pass for all views, or one each.

    Raises:
        UserError: a setting is out of its range.
    """

    robust_weight = 0.0

    consistency_weight: NonNegativeFloat = 12.0
    batching: Batching = "joint"

    @property
    def augmented_views(self) -> tuple[str, ...]:
        return ("augmix", "augmix-2")

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images = {"clean": batch.images, **{view: batch.augmented[view] for view in self.augmented_views}}
        logits = logits_of(model, images, self.batching, batch.groups)
        divergence = jensen_shannon(torch.stack(list(logits.values()))).mean()
        loss = self.cross_entropy(logits["clean"], batch.labels) + self.consistency_weight * divergence
        return Losses.of(loss, logits, batch.labels)
