"""Standard adversarial training: (1 - λ) L(clean) + λ L(adversarial) (001 Eq. 1)."""

from __future__ import annotations

import torch
from torch import nn

from nofrost.config import ObjectiveSpec
from nofrost.train.objectives.base import Batch, Craft, Losses, count_correct, cross_entropy


def sat(model: nn.Module, batch: Batch, spec: ObjectiveSpec, craft: Craft) -> Losses:
    """Return the weighted loss on clean and adversarial images.

    λ = 0 is standard training and λ = 1 is PGD-AT: the view without weight is then not computed. With batching
    `joint` both kinds of images share one forward pass, and so one set of batch statistics (004 §4.2); with
    `separate` each has its own (001's code).
    """
    if spec.adversarial_weight == 0:
        clean, adversarial = model(batch.images), None
    elif spec.adversarial_weight == 1:
        clean, adversarial = None, model(craft())
    elif spec.batching == "joint":
        clean, adversarial = model(torch.cat([batch.images, craft()])).chunk(2)
    else:
        adversarial_images = craft()
        clean, adversarial = model(batch.images), model(adversarial_images)
    return weighted(clean, adversarial, batch, spec)


def weighted(clean: torch.Tensor | None, adversarial: torch.Tensor | None, batch: Batch, spec: ObjectiveSpec) -> Losses:
    """Return (1 - λ) L(clean) + λ L(adversarial) of the logits that are there."""
    loss = batch.images.new_zeros(())
    correct = {}
    views = (("clean", clean, 1 - spec.adversarial_weight), ("adversarial", adversarial, spec.adversarial_weight))
    for kind, logits, weight in views:
        if logits is not None:
            loss = loss + weight * cross_entropy(logits, batch.labels, spec)
            correct[kind] = count_correct(logits, batch.labels)
    return Losses(loss, correct)
