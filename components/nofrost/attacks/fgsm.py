"""The fast gradient sign method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nofrost.attacks.base import Attack
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.noise import Noise
from nofrost.attacks.registry import register


@register("fgsm")
@dataclass(frozen=True, kw_only=True)
class Fgsm(Attack):
    """One step of length `eps` along the gradient, from the clean image (Goodfellow et al. 2015; 003)."""

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        _, _, gradient = model.differentiate(images, labels, error_log_odds)
        ball = self.ball(images)
        return ball.project(images + self.eps * ball.direction(gradient))
