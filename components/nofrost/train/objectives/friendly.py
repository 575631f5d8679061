"""Friendly adversarial training (Zhang et al. 2020): PGD that stops early, so that images are not pushed far past the
decision boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, field_validator
from torch import Tensor, nn

from nofrost.attacks.gradient import Pgd
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import Ball, per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import DONE_SHARE
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, register


@configurable
class Ascent(Pgd):
    """PGD that returns its last points and stops early for images that were misclassified often enough.

    This is the early stopping of FAT (Zhang et al. 2020, Algorithm 1). Each step begins with a prediction, and an image
    that is misclassified for the (tau + 1)-th time no longer moves: with tau 0, an image whose start is misclassified
    is not attacked. There is no prediction after the last step, so that this is PGD for `tau` >= `steps` without noise.

    Like the registered attacks it runs in evaluation mode, restores the mode of every module, needs no gradients of
    parameters, computes in float32, and uses random numbers that depend on the image alone.

    Args:
        tau: number of misclassifications after which an image is still attacked, at least 0; None attacks every image
            to the last step.
        step_noise: ω, deviation in pixels of Gaussian noise that is added to each step.
    """

    tau: NonNegativeInt | None = None
    step_noise: NonNegativeFloat = 0.0

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        adversarial = torch.empty_like(images)
        active = self._begin(model, images, labels, noise)
        for step in range(self.steps):
            self._advance(model, active, step)
            # No image is finished before its (tau + 1)-th prediction: testing earlier would only wait for the device.
            if self.tau is not None and step >= self.tau and (rows := active.unfinished()) is not None:
                adversarial[active.rows] = active.points
                if len(rows) == 0:
                    return adversarial
                active = active[rows]
        adversarial[active.rows] = active.points
        return adversarial

    def _begin(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> _ActiveImages:
        ball, first = self.ball(images), noise.stream(0)
        return _ActiveImages(
            rows=torch.arange(len(images), device=images.device),
            ball=ball,
            labels=labels,
            targets=self.targets(model, images, labels, first),
            noise=noise,
            points=self.start(ball, first),
            remaining=torch.full_like(labels, self.steps if self.tau is None else self.tau),
        )

    def _advance(self, model: CheckedModel, active: _ActiveImages, step: int) -> None:
        """Move every point by one step, except those that are finished."""
        _, wrong, gradient = model.loss_and_grad(active.points, active.labels, self.loss, active.targets, self.eot)
        # Below 0 the count is frozen, because rounding in a smaller batch might change the prediction.
        active.remaining -= (wrong & (active.remaining >= 0)).long()
        moved = active.points + self.length() * active.ball.direction(gradient)
        if self.step_noise:
            moved += self.step_noise * active.noise.stream(1 + step).normal(moved.shape[1:], moved.dtype)
        active.points = torch.where(per_image(active.remaining < 0), active.points, active.ball.project(moved))


@dataclass
class _ActiveImages:
    """The M images of a batch of N that are still attacked, in the order of the batch.

    Attributes:
        rows: [M] int64, their rows in the batch.
        ball: around their clean images.
        labels: [M] int64.
        targets: M rows, the second argument of the loss.
        noise: their random numbers.
        points: [M, C, H, W], their current adversarial images.
        remaining: [M] int64, misclassifications that are left before the attack stops; below 0 for finished images.
    """

    rows: Tensor
    ball: Ball
    labels: Tensor
    targets: Tensor
    noise: Noise
    points: Tensor
    remaining: Tensor

    def __getitem__(self, rows: Tensor) -> _ActiveImages:
        return _ActiveImages(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def unfinished(self) -> Tensor | None:
        """Return the rows to continue with, [L] int64; None to continue with all, because too few are finished."""
        finished = self.remaining < 0
        if int(finished.sum()) < max(1, len(finished) * DONE_SHARE):
            return None
        return (~finished).nonzero().squeeze(1)


@configurable
class EarlyStopping(Objective):
    """Early stopping of the attack, which FAT and TRADES-FAT share.

    Args:
        tau: number of misclassifications after which an image is still attacked, at least 0. wang2022 has 1; its code
            notes that its tau is one larger than that of Zhang et al. 2020, which would be 0.
        tau_milestones: finished epochs at which tau grows by one, increasing: (50, 90) for the 0, 1, 2 of Zhang et al.
        step_noise: ω, deviation in pixels of the noise added to each step; 0.001 in the code of FAT.

    Raises:
        UserError: a setting is out of its range.
    """

    tau: NonNegativeInt = 1
    tau_milestones: tuple[NonNegativeFloat, ...] = ()
    step_noise: NonNegativeFloat = 0.0

    @field_validator("tau_milestones")
    @classmethod
    def _milestones_increase(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"{list(milestones)} are not increasing: write epochs such as [50, 90]")
        return milestones

    def stopping(self, adversary: Adversary) -> dict[str, Any]:
        """Return the settings of `Ascent` for early stopping at this point of the training."""
        passed = sum(adversary.epochs_done >= milestone for milestone in self.tau_milestones)
        return {"tau": self.tau + passed, "step_noise": self.step_noise}


@register("fat")
@configurable
class FriendlyAdversarialTraining(EarlyStopping):
    """The loss on early-stopped adversarial images alone (Zhang et al. 2020, Algorithm 2; wang2022 §2.1).

    Steps and step size of the attack are the recipe's. Images keep their order in the batch; the authors' code sorts
    them by the step at which their attack stops.
    """

    fixed_settings: ClassVar[Mapping[str, object]] = {"restarts": 1, "keep": "last"}
    robust_weight = 1.0

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        attack = Ascent(**adversary.settings(), **self.stopping(adversary))
        logits = model(adversary.craft(model, batch, attack))
        return Losses.of(self.cross_entropy(logits, batch.labels), {"adversarial": logits}, batch.labels)
