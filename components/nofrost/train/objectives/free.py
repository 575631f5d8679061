"""Free adversarial training: each backward pass moves the weights and the perturbation (Shafahi et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from nofrost.attacks import settings
from nofrost.attacks.norms import BALLS
from nofrost.config import PixelFraction
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register

_NOISE = "free.noise"


@register("free")
@configurable
class FreeAdversarialTraining(Objective):
    """The loss on perturbed images, `replays` updates on each batch, the model in the mode in which it trains.

    The perturbation belongs to the place in the batch: what one batch leaves there the next one begins with, as in the
    authors' code. It starts at zero, and again when the images' size changes. After each update it takes one step along
    its gradient, `attack.step_size` or else the whole budget long, which the update's backward pass brings along; so
    batch statistics move `replays` times on a batch. A recipe has as many times fewer epochs.

    Args:
        replays: m, at least 1; 4 on ImageNet (wang2022 Table 7), 8 on CIFAR-10.

    Raises:
        UserError: `replays` is out of its range.
    """

    fixes: ClassVar[Mapping[str, object]] = {"steps": 1, "restarts": 1, "keep": "last", "eot": 1}

    replays: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.whole("replays", self.replays, minimum=1)

    @property
    def robust_weight(self) -> float:
        return 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        """Return the loss on images that are perturbed already."""
        logits = model(batch.images)
        return Losses(self.cross_entropy(logits, batch.labels), {"adversarial": count_correct(logits, batch.labels)})

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
            noise = memory[_NOISE] = _climbed(noise, adversary)


def _climbed(noise: Tensor, adversary: Adversary) -> Tensor:
    """Return `noise` [N, C, H, W] one step along its gradient and inside the budget; the box cuts the images alone."""
    if noise.grad is None:
        raise RuntimeError("objective 'free' needs the backward pass of each update before the next")
    step_size = adversary.spec.setting("step_size")
    length = adversary.eps if step_size is None else float(PixelFraction(step_size))
    moved = noise.detach() + length * BALLS[adversary.norm].direction(noise.grad)
    if adversary.norm == "linf":
        return moved.clamp(-adversary.eps, adversary.eps)
    return torch.renorm(moved, p=2, dim=0, maxnorm=adversary.eps)
