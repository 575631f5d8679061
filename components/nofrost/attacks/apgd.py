"""Auto-PGD: gradient ascent that chooses its own step sizes (Croce & Hein 2020), on three losses."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, Followed, register
from nofrost.attacks.losses import dlr, error_log_odds, likeliest_wrong, margin, targeted_dlr, targeted_margin
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import Ball, per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import AttemptBatch, Best, Search, run_attempts
from nofrost.config.base import Share
from nofrost.registry import configurable

# The share of the last move; the paper's 1 - alpha
_MOMENTUM = 0.25


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the steps, from 1 to `steps`, after which the step size may be halved.

    The windows between them shrink from 22 % of the steps by 3 % each time to 6 %, rounded down, at least one step.
    So short runs check after almost every step: 4, 7, 9, 10, ..., 20 of 20; 22, 41, 57, 70, 80, 87, 93, 99 of 100.
    """
    window, shrink, smallest = (max(steps * percent // 100, 1) for percent in (22, 3, 6))
    checks = []
    step = window
    while step <= steps:
        checks.append(step)
        window = max(window - shrink, smallest)
        step += window
    return tuple(checks)


@configurable
class Apgd(Attack):
    """Auto-PGD with any loss; the result is a misclassified point, or else the point with the highest loss.

    It follows the authors' AutoAttack where that differs from their paper: the first step counts as a rise if its loss
    is positive (cross-entropy always is), and after a return to the best point the next loss is compared with the one
    before the return.

    Args:
        steps: how many gradient steps, at least 1. AutoAttack takes 100, wang2022 took 20.
        restarts: how many random starts, at least 1; later ones only for images without a misclassified point.
        rho: the share of a window's steps that must raise the loss, or the step is halved, in [0, 1].
        early_stop: spend no further gradient on images that have a misclassified point, and return the first one.
            Without it the misclassified point with the highest loss is returned; the share of such images is the same.
        eot: how many passes to take the mean gradient of, at least 1; more are for models that answer at random.
    """

    access: ClassVar[Access] = "gradient"
    zero: ClassVar[float] = 0.0
    """The value of `loss` that corresponds to a loss of zero."""

    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    rho: Share = 0.75
    early_stop: bool = True
    eot: PositiveInt = 1

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return what is maximised, [N]."""

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        def attempt(batch: AttemptBatch) -> Best:
            own = batch.of(labels)
            return self._attempt(model, batch.of(images), own, own, batch.noise(noise))

        return run_attempts(attempt, self.restarts, images, early_stop=self.early_stop).points

    def _attempt(
        self, model: CheckedModel, images: Tensor, labels: Tensor, targets: Tensor, noise: Noise, attempts: int = 1
    ) -> Best:
        ball = self.ball(images)
        start = ball.random_boundary(noise)
        search = Search(start, self.early_stop, attempts)
        loss, fooled, gradient = model.loss_and_grad(start, labels, self.loss, targets, self.eot)
        search.record(start, loss, fooled)
        climb = _Climb.begin(start, loss, gradient, step=2 * self.eps, before=self.zero)
        checks, checked = set(checkpoints(self.steps)), 0
        for step in range(1, self.steps + 1):
            if (active := search.narrow()) is not None:
                if len(active) == 0:
                    return search.result()
                ball, labels, targets, climb = ball[active], labels[active], targets[active], climb[active]
            climb.move(ball, momentum=_MOMENTUM if step > 1 else 0.0)
            if step == self.steps:
                search.record(climb.points, *model.loss(climb.points, labels, self.loss, targets, self.eot))
                break
            loss, fooled, gradient = model.loss_and_grad(climb.points, labels, self.loss, targets, self.eot)
            search.record(climb.points, loss, fooled)
            climb.arrive(loss, gradient)
            if step in checks:
                climb.check(least_rises=self.rho * (step - checked))
                checked = step
        return search.result()


@dataclass
class _Climb:
    """State of the ascent; every field has one entry per image."""

    points: Tensor
    previous: Tensor  # points one move earlier
    gradient: Tensor  # at points
    loss: Tensor  # at the end of the last move
    best_points: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    best_at_check: Tensor  # best_loss at the last check
    rises: Tensor  # moves since the last check that raised the loss
    halved: Tensor  # whether the last check halved the step
    step: Tensor

    @classmethod
    def begin(cls, start: Tensor, loss: Tensor, gradient: Tensor, step: float, before: float) -> _Climb:
        rises, halved = torch.zeros_like(loss), torch.ones_like(loss, dtype=torch.bool)
        earlier, steps = torch.full_like(loss, before), torch.full_like(loss, step)
        return cls(start, start, gradient, earlier, start, gradient, loss, loss, rises, halved, steps)

    def __getitem__(self, rows: Tensor) -> _Climb:
        return _Climb(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def move(self, ball: Ball, momentum: float) -> None:
        """Step along the gradient, mix in the last move, stay inside the ball."""
        ahead = ball.project(torch.addcmul(self.points, per_image(self.step), ball.direction(self.gradient)))
        if momentum:
            drift = self.points - self.previous
            ahead = ball.project(torch.lerp(self.points, ahead, 1 - momentum).add_(drift, alpha=momentum))
        self.previous, self.points = self.points, ahead

    def arrive(self, loss: Tensor, gradient: Tensor) -> None:
        """Record the loss and gradient at the new points."""
        better = loss > self.best_loss
        mask = per_image(better)
        self.best_points = torch.where(mask, self.points, self.best_points)
        self.best_gradient = torch.where(mask, gradient, self.best_gradient)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.rises = self.rises + (loss > self.loss)
        self.loss, self.gradient = loss, gradient

    def check(self, least_rises: float) -> None:
        """Halve the step and go back to the best point: after few rises, or no new best at a step not just halved."""
        stuck = ~self.halved & (self.best_at_check >= self.best_loss)
        self.halved = (self.rises <= least_rises) | stuck
        mask = per_image(self.halved)
        self.step = torch.where(self.halved, self.step / 2, self.step)
        self.points = torch.where(mask, self.best_points, self.points)
        self.gradient = torch.where(mask, self.best_gradient, self.gradient)
        self.best_at_check = self.best_loss
        self.rises = torch.zeros_like(self.rises)


@register("apgd-ce")
@configurable
class ApgdCe(Apgd):
    """Auto-PGD that maximises cross-entropy (Croce & Hein 2020); the first attack of AutoAttack."""

    follows: ClassVar[Followed] = "cross-entropy"
    zero: ClassVar[float] = -math.inf

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return error_log_odds(logits, targets)


@register("apgd-dlr")
@configurable
class ApgdDlr(Apgd):
    """Auto-PGD that maximises the difference-of-logits ratio (Croce & Hein 2020); it needs at least 3 classes."""

    follows: ClassVar[Followed] = "dlr"
    min_classes: ClassVar[int] = 3
    required_classes: ClassVar[int] = 3
    cross_entropy_twin: ClassVar[str] = "apgd-ce"

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return dlr(logits, targets)


@configurable
class ApgdMargin(ApgdDlr):
    """`ApgdDlr` on the plain margin, for models with two classes."""

    required_classes: ClassVar[int] = 2

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return margin(logits, targets)


@register("apgd-t")
@configurable
class ApgdT(Apgd):
    """Auto-PGD that maximises the targeted difference-of-logits ratio (Croce & Hein 2020, section 4.3).

    It needs at least 4 classes. An image counts as fooled when it is taken for any wrong class.

    Args:
        targets: how many wrong classes to aim at, at least 1, the likeliest of the clean image first; at most all.
        restarts: how many random starts for each of them.
    """

    follows: ClassVar[Followed] = "dlr"
    targeted: ClassVar[bool] = True
    min_classes: ClassVar[int] = 4
    required_classes: ClassVar[int] = 4

    targets: PositiveInt = 9

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return targeted_dlr(logits, targets)

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        with torch.no_grad():
            targets = likeliest_wrong(model(images), labels, self.targets)
        aims = targets.repeat_interleave(self.restarts, dim=1)

        def attempt(batch: AttemptBatch) -> Best:
            own = batch.of(labels)
            pairs = torch.stack([own, batch.column(aims)], 1)
            return self._attempt(model, batch.of(images), own, pairs, batch.noise(noise), batch.count)

        count, at_once = aims.shape[1], model.batch_size
        return run_attempts(attempt, count, images, early_stop=self.early_stop, at_once=at_once).points


@configurable
class ApgdTMargin(ApgdT):
    """`ApgdT` on the plain margin to the target, for models with fewer than 4 classes."""

    required_classes: ClassVar[int] = 2

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return targeted_margin(logits, targets)
