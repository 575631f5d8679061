"""The fast gradient sign method."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, Followed
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.noise import Noise
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("fgsm")
@configurable
class Fgsm(Attack):
    """One step of length `eps` along the gradient, from the clean image (Goodfellow et al. 2015; galloway2019).

    Args:
        eot: how many passes to take the mean gradient of, at least 1; more are for models that answer at random.
    """

    access: ClassVar[Access] = "gradient"
    follows: ClassVar[Followed] = "cross-entropy"
    random_start: ClassVar[bool] = False

    eot: PositiveInt = 1

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        _, _, gradient = model.differentiate(images, labels, error_log_odds, passes=self.eot)
        ball = self.ball(images)
        return ball.project(images + self.eps * ball.direction(gradient))
