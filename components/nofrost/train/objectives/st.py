"""Standard training: cross-entropy on clean images."""

from __future__ import annotations

from torch import nn

from nofrost.config import ObjectiveSpec
from nofrost.train.objectives.base import Batch, Craft, Losses, count_correct, cross_entropy


def st(model: nn.Module, batch: Batch, spec: ObjectiveSpec, craft: Craft) -> Losses:
    """Return the loss on the clean images; no attack is made."""
    logits = model(batch.images)
    return Losses(cross_entropy(logits, batch.labels, spec), {"clean": count_correct(logits, batch.labels)})
