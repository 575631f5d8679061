"""The inner maximisation of FAT, TRADES and TRADES-FAT: PGD that lets images go early, or climbs a divergence.

Both are attacks like the registered ones: in evaluation mode, with every module's own mode restored, without gradients
of parameters, in float32, and with random numbers that belong to the image.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from nofrost.attacks.gradient import Pgd
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import Ball, per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import DONE_SHARE
from nofrost.registry import configurable

# The deviation of TRADES' start from the clean image, in pixels (Zhang et al. 2019, their code)
_START = 0.001


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Return KL(p(clean) || p(adversarial)) of each image, [N], from logits [N, K]; finite for all finite logits."""
    log_p, log_q = F.log_softmax(clean, 1), F.log_softmax(adversarial, 1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


@configurable
class Ascent(Pgd):
    """PGD that gives back its last points, but lets an image go once it was misclassified often enough.

    So FAT stops early (Zhang et al. 2020, Algorithm 1). Each step begins with a prediction. An image that is then
    misclassified for the (tau + 1)-th time stays where it is; so with tau 0 one whose start is misclassified is not
    attacked. The last step's result is not asked about: from `tau` = `steps` on, and without noise, this is PGD.

    Args:
        tau: how many misclassifications an image goes on after, at least 0; None lets no image go.
        step_noise: ω, deviation in pixels of Gaussian noise that is added to each step.
    """

    tau: int | None = None
    step_noise: float = 0.0

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        found = torch.empty_like(images)
        climb = self._begin(model, images, labels, noise)
        for step in range(self.steps):
            self._advance(model, climb, step)
            # before its (tau + 1)-th prediction no image is done, and an accelerator need not be waited for
            if self.tau is not None and step >= self.tau and (left := climb.narrow()) is not None:
                found[climb.rows] = climb.points
                if len(left) == 0:
                    return found
                climb = climb[left]
        found[climb.rows] = climb.points
        return found

    def _begin(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> _Climb:
        ball, first = self.ball(images), noise.stream(0)
        return _Climb(
            rows=torch.arange(len(images), device=images.device),
            ball=ball,
            labels=labels,
            targets=self.targets(model, images, labels, first),
            noise=noise,
            points=self.start(ball, first),
            patience=torch.full_like(labels, self.steps if self.tau is None else self.tau),
        )

    def _advance(self, model: CheckedModel, climb: _Climb, step: int) -> None:
        """Move every point of `climb` by one step, but for those that are let go."""
        _, wrong, gradient = model.loss_and_grad(climb.points, climb.labels, self.loss, climb.targets, self.eot)
        # once below 0 it stays there, even should a prediction be rounded otherwise in a smaller batch
        climb.patience -= (wrong & (climb.patience >= 0)).long()
        moved = climb.points + self.length() * climb.ball.direction(gradient)
        if self.step_noise:
            moved += self.step_noise * climb.noise.stream(1 + step).normal(moved.shape[1:], moved.dtype)
        climb.points = torch.where(per_image(climb.patience < 0), climb.points, climb.ball.project(moved))


@configurable
class DivergenceAscent(Ascent):
    """Ascent of KL(p(x) || p(x*)) from x + 0.001 · N(0, 1): the attack of TRADES (Zhang et al. 2019, Algorithm 1).

    The clean logits are computed once.
    """

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.project(ball.centre + _START * noise.normal(ball.centre.shape[1:], ball.centre.dtype))

    @torch.no_grad()
    def targets(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return model(images)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return divergence(targets, logits)


@dataclass
class _Climb:
    """The images that are still worked on, M of the batch's N, in its order.

    Attributes:
        rows: [M] int64, their places in the batch.
        ball: around their clean images.
        labels: [M] int64.
        targets: M rows, what the loss is about.
        noise: their random numbers.
        points: [M, C, H, W], where they are.
        patience: [M] int64, how many misclassifications they may still go on after; below 0 when they are let go.
    """

    rows: Tensor
    ball: Ball
    labels: Tensor
    targets: Tensor
    noise: Noise
    points: Tensor
    patience: Tensor

    def __getitem__(self, kept: Tensor) -> _Climb:
        return _Climb(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})

    def narrow(self) -> Tensor | None:
        """Return the places among these of the images to go on with, [L] int64; None to go on with all."""
        gone = self.patience < 0
        if int(gone.sum()) < max(1, len(gone) * DONE_SHARE):
            return None
        return (~gone).nonzero().squeeze(1)
