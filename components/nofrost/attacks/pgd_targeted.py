"""Projected gradient descent towards a random class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nofrost.attacks.classifier import Classifier
from nofrost.attacks.noise import Noise
from nofrost.attacks.pgd import Pgd
from nofrost.attacks.registry import register
from nofrost.attacks.targets import random_wrong

# The stream of the targets; the starts take 0 and 1
_TARGETS = 2


@register("pgd-targeted")
@dataclass(frozen=True, kw_only=True)
class PgdTargeted(Pgd):
    """PGD that minimises the cross-entropy to a class drawn among the wrong ones (004; PGD^T in 001).

    004's text draws among all classes, its code (followed here) among the others. A restart draws anew. An image counts
    as fooled when it is taken for any wrong class, as 004 measures accuracy on the true label. On many classes this is
    a weaker test than untargeted PGD, so the two belong in different columns.
    """

    def goals(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return random_wrong(labels, model.classes(images), noise.stream(_TARGETS))

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return -super().loss(logits, goals)
