"""Adversarial training for the price of few backward passes: fast and free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from nofrost.attacks.norms import BALLS
from nofrost.attacks.random import Noise
from nofrost.config import PixelFraction
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, register

_NOISE = "free.noise"


@register("fast")
@configurable
class FastAdversarialTraining(Objective):
    """The loss on images one gradient step away from a random point of the ball (Wong et al. 2020; wang2022 Table 7).

    The step is `attack.step_size`, or else 1.25 of the budget. It is made with the model in the mode in which it
    trains, as in the authors' code: batch norms normalise by the batch, and their statistics move twice a step. Too
    long a step ends in catastrophic overfitting, which `selection.guard` stops.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        ball = BALLS[adversary.norm](batch.images, adversary.eps)
        start = ball.random_inside(Noise.of(adversary.seed, batch.indices).stream(0)).requires_grad_()
        # Cross-entropy itself: where images see each other in a batch norm, a monotone function of it has other
        # gradients.
        attacked = F.cross_entropy(model(start), batch.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(attacked, start)
        step = _step_size(adversary, 1.25 * adversary.eps) * ball.direction(gradient)
        logits = model(ball.project(start.detach() + step))
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)


@register("free")
@configurable
class FreeAdversarialTraining(Objective):
    """The loss on perturbed images, `replays` updates on each batch, the model in the mode in which it trains
    (Shafahi et al. 2019): each backward pass moves the weights and the perturbation.

    The perturbation belongs to the row of the batch: what one batch leaves there the next one begins with, as in the
    authors' code. It starts at zero, and again when the images' size changes. After each update it takes one step along
    its gradient, `attack.step_size` or else the whole budget long, which the update's backward pass computes too; so
    batch statistics move `replays` times on a batch. A recipe has as many times fewer epochs.

    Args:
        replays: m, at least 1; 4 on ImageNet (wang2022 Table 7), 8 on CIFAR-10.

    Raises:
        UserError: `replays` is out of its range.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}

    replays: PositiveInt = 4

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        """Return the loss on images that are perturbed already."""
        logits = model(batch.images)
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)

    def updates(
        self, model: nn.Module, batch: Batch, adversary: Adversary, memory: dict[str, Tensor]
    ) -> Iterator[Losses]:
        noise = torch.zeros_like(batch.images)
        if _NOISE in memory and memory[_NOISE].shape == noise.shape:
            noise = memory[_NOISE].to(noise)
        for _ in range(self.replays):
            noise.requires_grad_()
            perturbed = (batch.images + noise).clamp(0, 1)
            yield self.loss(model, replace(batch, images=perturbed), adversary)
            noise = memory[_NOISE] = _stepped(noise, adversary)


def _stepped(noise: Tensor, adversary: Adversary) -> Tensor:
    """Return `noise` [N, C, H, W] one step along its gradient and inside the budget; only the images are clamped to
    [0, 1]."""
    if noise.grad is None:
        raise RuntimeError("objective 'free' needs the backward pass of each update before the next")
    step = _step_size(adversary, adversary.eps) * BALLS[adversary.norm].direction(noise.grad)
    moved = noise.detach() + step
    if adversary.norm == "linf":
        return moved.clamp(-adversary.eps, adversary.eps)
    return torch.renorm(moved, p=2, dim=0, maxnorm=adversary.eps)


def _step_size(adversary: Adversary, default: float) -> float:
    step_size = adversary.spec.setting("step_size")
    return default if step_size is None else float(PixelFraction(step_size))
