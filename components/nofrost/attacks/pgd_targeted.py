"""Projected gradient descent towards a random class."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nofrost.attacks.classifier import Classifier
from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import Ball, per_image
from nofrost.attacks.pgd import Pgd
from nofrost.attacks.registry import register
from nofrost.attacks.targets import random_wrong
from nofrost.config.base import Share
from nofrost.registry import configurable

# The streams of the targets and of who starts clean; the starts take 0 and 1
_TARGETS = 2
_CLEAN = 3


@register("pgd-targeted")
@configurable
class PgdTargeted(Pgd):
    """PGD that minimises the cross-entropy to a class drawn among the wrong ones (xie2020; PGD^T in wang2022).

    xie2020's text draws among all classes, its code (followed here) among the others. A restart draws anew. An image counts
    as fooled when it is taken for any wrong class, as xie2020 measures accuracy on the true label. On many classes this is
    a weaker test than untargeted PGD, so the two belong in different columns.

    Args:
        clean_start: with this chance an image is attacked from itself and not from a random point; 0.2 when xie2020 trains,
            0 when it evaluates (its §3). Drawn for each image, as its text reads; its code draws once a batch.
    """

    targeted: ClassVar[bool] = True

    clean_start: Share = 0.0

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        chance = (noise.stream(_CLEAN).uniform(()) + 1) / 2
        return torch.where(per_image(chance < self.clean_start), ball.centre, super().start(ball, noise))

    def goals(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return random_wrong(labels, model.classes(images), noise.stream(_TARGETS))

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return -super().loss(logits, goals)
