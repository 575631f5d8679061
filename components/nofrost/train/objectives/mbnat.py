"""Mixture-BN adversarial training (004 §4.2): clean images pass one set of batch norms, adversarial ones the other."""

from __future__ import annotations

import torch
from torch import nn

from nofrost.config import ObjectiveSpec
from nofrost.errors import UserError
from nofrost.models import Joint, domain, has_mixture
from nofrost.train.objectives.base import Batch, Craft, Losses
from nofrost.train.objectives.sat import weighted


def mbnat(model: nn.Module, batch: Batch, spec: ObjectiveSpec, craft: Craft) -> Losses:
    """Return the loss of 001 Eq. 1 with each kind of image in its own branch.

    The attack is made against the adversarial branch. With batching `joint` one forward pass carries both kinds and
    every mixture layer splits it, so that each parameter gets its gradient in one pass.

    Raises:
        UserError: the model has no mixture BN.
    """
    if not has_mixture(model):
        raise UserError("objective 'mbnat' needs mixture batch norm: set model.normaliser to mbn")
    with domain(model, "adversarial"):
        adversarial_images = craft()
    if spec.batching == "joint":
        with domain(model, Joint(len(batch.images))):
            clean, adversarial = model(torch.cat([batch.images, adversarial_images])).chunk(2)
    else:
        with domain(model, "clean"):
            clean = model(batch.images)
        with domain(model, "adversarial"):
            adversarial = model(adversarial_images)
    return weighted(clean, adversarial, batch, spec)
