"""The loss of NoFrost*: clean, augmented and adversarial images, a third each (001 §3.2 Eq. 2)."""

from __future__ import annotations

import torch
from torch import nn

from nofrost.config import ObjectiveSpec
from nofrost.errors import UserError
from nofrost.train.objectives.base import Batch, Craft, Losses, count_correct, cross_entropy


def sat_augmented(model: nn.Module, batch: Batch, spec: ObjectiveSpec, craft: Craft) -> Losses:
    """Return the mean of the three losses; batching as in standard adversarial training.

    Raises:
        UserError: the recipe names no augmentation sets.
    """
    if batch.augmented is None:
        raise UserError("objective 'sat-augmented' needs augmented images: name sets in views.augmentation_sets")
    images = {"clean": batch.images, "augmented": batch.augmented, "adversarial": craft()}
    if spec.batching == "joint":
        parts = model(torch.cat(list(images.values()))).chunk(3)
        logits = dict(zip(images, parts, strict=True))
    else:
        logits = {kind: model(view) for kind, view in images.items()}
    losses = [cross_entropy(part, batch.labels, spec) for part in logits.values()]
    return Losses(
        torch.stack(losses).mean(), {kind: count_correct(part, batch.labels) for kind, part in logits.items()}
    )
