"""Additive white Gaussian noise: the baseline beside which an attack is judged."""

import math
from typing import ClassVar

from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, register
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.random import Noise
from nofrost.attacks.search import AttemptBatch, Best, run_attempts
from nofrost.config.fraction import PositivePixels
from nofrost.registry import configurable


@register("awgn")
@configurable
class Awgn(Attack):
    """Additive white Gaussian noise, projected into ball and box: the baseline that every attack must beat.

    galloway2019 has no budget: it adds N(0, 1) to MNIST of unit variance (its section on input dimension) and a quarter
    of that to normalised CIFAR-10 (its code), in pixels a deviation of about 0.31 and 0.06. The nearest setting in
    pixels of [0, 1] is that `sigma` with ``norm="linf", eps=1``: then only the box cuts, which galloway2019 leaves out.

    Args:
        sigma: standard deviation of the noise in pixels of [0, 1], more than 0. Default: for ``l2`` eps / sqrt(d) with
            d values per image, so that its length is about `eps`; for ``linf`` eps / 2, so that 5 % is cut.
        draws: how many draws, at least 1. Per image the first misclassified one is kept, or else the one with the
            highest loss.
    """

    access: ClassVar[Access] = "outputs"

    sigma: PositivePixels | None = None
    draws: PositiveInt = 1

    def deviation(self, images: Tensor) -> float:
        """Return the standard deviation of the noise for `images` [N, C, H, W], in pixels."""
        if self.sigma is not None:
            return self.sigma
        return self.eps / 2 if self.norm == "linf" else self.eps / math.sqrt(images[0].numel())

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        def draw(batch: AttemptBatch) -> Best:
            own = batch.of(images)
            grain = batch.noise(noise).normal(own.shape[1:], own.dtype)
            points = self.ball(own).project(own + self.deviation(own) * grain)
            return Best(points, *model.loss(points, batch.of(labels), error_log_odds))

        return run_attempts(draw, self.draws, images, early_stop=True).points
