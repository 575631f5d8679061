"""Fast adversarial training: one step from a random start (Wong et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.attacks.norms import BALLS
from nofrost.attacks.random import Noise
from nofrost.config import PixelFraction
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register


@register("fast")
@configurable
class FastAdversarialTraining(Objective):
    """The loss on images one gradient step away from a random point of the ball (wang2022 Table 7).

    The step is `attack.step_size`, or else 1.25 of the budget. It is made with the model in the mode in which it
    trains, as in the authors' code: batch norms normalise by the batch, and their statistics move twice a step. Too
    long a step ends in catastrophic overfitting, which `selection.guard` stops.
    """

    fixes: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        logits = model(_one_step(model, batch, adversary))
        return Losses(self.cross_entropy(logits, batch.labels), {"adversarial": count_correct(logits, batch.labels)})


def _one_step(model: nn.Module, batch: Batch, adversary: Adversary) -> Tensor:
    ball = BALLS[adversary.norm](batch.images, adversary.eps)
    step_size = adversary.spec.setting("step_size")
    length = 1.25 * adversary.eps if step_size is None else float(PixelFraction(step_size))
    start = ball.random_inside(Noise.of(adversary.seed, batch.indices).stream(0)).requires_grad_()
    # cross-entropy itself: where images see each other in a batch norm, a monotone function of it has other gradients
    loss = F.cross_entropy(model(start), batch.labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, start)
    return ball.project(start.detach() + length * ball.direction(gradient))
