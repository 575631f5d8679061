"""Adversarial training with few backward passes: Fast and Free."""

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

    The step size is `attack.step_size`, by default 1.25 times the budget. The model is in training mode, as in the
    authors' code: batch norms normalise by the batch, and a step updates their statistics twice. Too large a step leads
    to catastrophic overfitting, at which `selection.guard` stops the training.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}
    robust_weight = 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        ball = BALLS[adversary.norm](batch.images, adversary.eps)
        with adversary.clock("attack"):
            start = ball.random_inside(Noise.of(adversary.seed, batch.indices).stream(0)).requires_grad_()
            # Not a monotone function of the cross-entropy, as attacks use: where the images of a batch influence each
            # other through batch norms, its gradient would differ.
            attacked = F.cross_entropy(model(start), batch.labels, reduction="sum")
            (gradient,) = torch.autograd.grad(attacked, start)
            step = _step_size(adversary, 1.25 * adversary.eps) * ball.direction(gradient)
            adversarial = ball.project(start.detach() + step)
        logits = model(adversarial)
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)


@register("free")
@configurable
class FreeAdversarialTraining(Objective):
    """The loss on perturbed images, with `replays` updates on each batch and the model in training mode (Shafahi et al.
    2019): each backward pass updates the weights and the perturbation.

    A row of the batch keeps its perturbation from one batch to the next, as in the authors' code; it is zero at the
    beginning and whenever the image size changes. After each update it takes one step, of size `attack.step_size` or by
    default the whole budget, along the gradient that the backward pass of the update has computed anyway. A batch
    therefore updates batch statistics `replays` times, and recipes have fewer epochs by the same factor.

    Args:
        replays: m, at least 1; 4 on ImageNet (wang2022 Table 7), 8 on CIFAR-10.

    Raises:
        UserError: `replays` is out of its range.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}

    replays: PositiveInt = 4
    robust_weight = 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        """Return the loss on images that already are perturbed."""
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
    """Return `noise` [N, C, H, W] after one step along its gradient, projected to the budget but not to [0, 1]."""
    if noise.grad is None:
        raise RuntimeError("objective 'free' needs the backward pass of each update before the next")
    # Where the scaled loss of float16 overflows, the weights keep still as well: noise that is not finite would stay.
    gradient = noise.grad.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    moved = noise.detach() + _step_size(adversary, adversary.eps) * BALLS[adversary.norm].direction(gradient)
    if adversary.norm == "linf":
        return moved.clamp(-adversary.eps, adversary.eps)
    return torch.renorm(moved, p=2, dim=0, maxnorm=adversary.eps)


def _step_size(adversary: Adversary, default: float) -> float:
    step_size = adversary.spec.setting("step_size")
    return default if step_size is None else float(PixelFraction(step_size))
