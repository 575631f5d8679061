"""Steps of one length along the gradient, each followed by a projection: what BIM and the PGD attacks share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, Followed
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import Ball
from nofrost.attacks.search import Found, Search, in_restarts
from nofrost.config.fraction import PositivePixels
from nofrost.registry import configurable


@configurable
class ProjectedGradient(Attack):
    """Gradient ascent inside the ball.

    Args:
        steps: how many gradient steps, at least 1.
        step_size: length of a step in pixels, more than 0. Default: for ``linf`` min(1.25 eps, eps + 4/255) / steps,
            the rule of wang2022's code; for ``l2`` 2 eps / steps, as galloway2019 took for its 20 steps.
        keep: ``best`` returns per image a misclassified point of its path, or else the one with the highest loss; it
            costs one more forward. ``last`` returns the last point, as wang2022 §2.1 trains on.
        early_stop: spend no further gradient on images that have a misclassified point. With ``keep="best"`` the first
            one is then returned, otherwise the one with the highest loss. With ``keep="last"`` the steps are always
            finished, and only further restarts are spared. The share of misclassified images is the same either way.
        eot: how many passes to take the mean gradient of, at least 1; more are for models that answer at random.

    Attributes:
        momentum: whether `follow` asks for what the last step followed.
    """

    access: ClassVar[Access] = "gradient"
    follows: ClassVar[Followed | None] = "cross-entropy"
    momentum: ClassVar[bool] = False

    steps: PositiveInt = 20
    step_size: PositivePixels | None = None
    keep: Literal["best", "last"] = "best"
    early_stop: bool = True
    eot: PositiveInt = 1

    @abstractmethod
    def start(self, ball: Ball, noise: Noise) -> Tensor:
        """Return where the ascent begins, [N, C, H, W] inside `ball`."""

    def goals(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return the classes that `loss` is about, [N] int64."""
        return labels

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        """Return what is maximised, [N]."""
        return error_log_odds(logits, goals)

    def follow(self, gradient: Tensor, followed: Tensor | None) -> Tensor:
        """Return what the next step climbs, from the gradient and what the last step followed, if there was one."""
        return gradient

    def attempts(self) -> int:
        """Return how many times the ascent is run, each from another start."""
        return 1

    def length(self) -> float:
        """Return the length of a step in pixels."""
        if self.step_size is not None:
            return self.step_size
        reach = min(1.25 * self.eps, self.eps + 4 / 255) if self.norm == "linf" else 2 * self.eps
        return reach / self.steps

    def crosses_the_ball(self) -> bool:
        return self.steps * self.length() >= (2 if self.random_start else 1) * self.eps

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        def attempt(images: Tensor, labels: Tensor, noise: Noise) -> Found:
            return self._attempt(model, images, labels, noise)

        if self.keep == "last" and self.attempts() == 1:
            return self._last_point(model, images, labels, noise.stream(0))
        return in_restarts(attempt, images, labels, noise, self.attempts(), self.early_stop)

    def _attempt(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Found:
        if self.keep == "best":
            return self._best_points(model, images, labels, noise)
        last = self._last_point(model, images, labels, noise)
        goals = self.goals(model, images, labels, noise)
        return Found(last, *model.judge(last, labels, self.loss, goals, self.eot))

    def _last_point(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        ball = self.ball(images)
        goals = self.goals(model, images, labels, noise)
        points, course = self.start(ball, noise), None
        for _ in range(self.steps):
            course = self.follow(model.differentiate(points, labels, self.loss, goals, self.eot)[2], course)
            points = self._step(ball, points, course)
            if not self.momentum:
                course = None  # a batch of images less beside the activations of the next step
        return points

    def _best_points(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Found:
        ball = self.ball(images)
        goals = self.goals(model, images, labels, noise)
        points, course = self.start(ball, noise), None
        search = Search(points, self.early_stop)
        for _ in range(self.steps):
            loss, fooled, gradient = model.differentiate(points, labels, self.loss, goals, self.eot)
            search.record(points, loss, fooled)
            course = self.follow(gradient, course)
            if (left := search.narrow()) is not None:
                if len(left) == 0:
                    return search.result()
                ball, labels, goals = ball[left], labels[left], goals[left]
                points, course = points[left], course[left]
            points = self._step(ball, points, course)
        search.record(points, *model.judge(points, labels, self.loss, goals, self.eot))
        return search.result()

    def _step(self, ball: Ball, points: Tensor, course: Tensor) -> Tensor:
        return ball.project(points + self.length() * ball.direction(course))
