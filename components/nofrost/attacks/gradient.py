"""Steps of a fixed length along the gradient: FGSM, BIM, MIM, PGD, and PGD on a margin or towards a wrong class."""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, Followed, register
from nofrost.attacks.losses import error_log_odds, margin, random_wrong
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import Ball, over_peak, per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import AttemptBatch, Best, Search, run_attempts
from nofrost.config.base import Share
from nofrost.config.fraction import PositivePixels
from nofrost.registry import configurable

# Noise streams of targeted PGD: for the targets, and for which images start clean. The random start uses 0 and 1
_TARGETS = 2
_CLEAN = 3


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

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        _, _, gradient = model.loss_and_grad(images, labels, error_log_odds, passes=self.eot)
        ball = self.ball(images)
        return ball.project(images + self.eps * ball.direction(gradient))


@configurable
class ProjectedGradient(Attack):
    """Gradient ascent inside the ball, the base of the attacks in this file.

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
        momentum: whether `follow` uses what the last step followed.
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

    def targets(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Return what `loss` compares the logits with, N rows: the labels, or the classes that are aimed at."""
        return labels

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return what is maximised, [N]."""
        return error_log_odds(logits, targets)

    def follow(self, gradient: Tensor, followed: Tensor | None) -> Tensor:
        """Return what the next step climbs, from the gradient and what the last step followed, if there was one."""
        return gradient

    def attempts(self) -> int:
        """Return how many times the ascent is run, each time from another start."""
        return 1

    def length(self) -> float:
        """Return the length of a step in pixels."""
        if self.step_size is not None:
            return self.step_size
        reach = min(1.25 * self.eps, self.eps + 4 / 255) if self.norm == "linf" else 2 * self.eps
        return reach / self.steps

    def crosses_the_ball(self) -> bool:
        return self.steps * self.length() >= (2 if self.random_start else 1) * self.eps

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        if self.keep == "last" and self.attempts() == 1:
            return self._last_point(model, images, labels, noise.stream(0))

        def attempt(batch: AttemptBatch) -> Best:
            return self._attempt(model, batch.of(images), batch.of(labels), batch.noise(noise))

        return run_attempts(attempt, self.attempts(), images, early_stop=self.early_stop).points

    def _attempt(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Best:
        if self.keep == "best":
            return self._best_points(model, images, labels, noise)
        last = self._last_point(model, images, labels, noise)
        targets = self.targets(model, images, labels, noise)
        return Best(last, *model.loss(last, labels, self.loss, targets, self.eot))

    def _last_point(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        ball = self.ball(images)
        targets = self.targets(model, images, labels, noise)
        points, course = self.start(ball, noise), None
        for _ in range(self.steps):
            course = self.follow(model.loss_and_grad(points, labels, self.loss, targets, self.eot)[2], course)
            points = self._step(ball, points, course)
            # without momentum it is not needed again: free its memory for the activations of the next step
            if not self.momentum:
                course = None
        return points

    def _best_points(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Best:
        ball = self.ball(images)
        targets = self.targets(model, images, labels, noise)
        points, course = self.start(ball, noise), None
        search = Search(points, self.early_stop)
        for _ in range(self.steps):
            loss, fooled, gradient = model.loss_and_grad(points, labels, self.loss, targets, self.eot)
            search.record(points, loss, fooled)
            course = self.follow(gradient, course)
            if (active := search.narrow()) is not None:
                if len(active) == 0:
                    return search.result()
                ball, labels, targets = ball[active], labels[active], targets[active]
                points, course = points[active], course[active]
            points = self._step(ball, points, course)
        search.record(points, *model.loss(points, labels, self.loss, targets, self.eot))
        return search.result()

    def _step(self, ball: Ball, points: Tensor, course: Tensor) -> Tensor:
        return ball.project(points + self.length() * ball.direction(course))


@register("bim")
@configurable
class Bim(ProjectedGradient):
    """Projected gradient ascent from the clean image, without random start (Kurakin et al. 2017; galloway2019)."""

    random_start: ClassVar[bool] = False

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.centre


@register("mim")
@configurable
class Mim(Bim):
    """BIM along a running sum of gradients, each divided by its L1 norm (Dong et al. 2018, algorithm 1).

    It is wang2022's MIA. The step size is that of the other attacks here; Dong et al. take eps / steps.

    Args:
        decay: factor of the running sum at each step, at least 0; 0 is BIM.
    """

    momentum: ClassVar[bool] = True

    decay: NonNegativeFloat = 1.0

    def follow(self, gradient: Tensor, followed: Tensor | None) -> Tensor:
        scaled = over_peak(gradient)
        length = scaled.abs().mean((1, 2, 3), keepdim=True)
        unit = scaled / torch.where(length > 0, length, 1.0)
        return unit if followed is None else torch.add(unit, followed, alpha=self.decay)


@register("pgd")
@configurable
class Pgd(ProjectedGradient):
    """Projected gradient ascent from random points of the ball (Madry et al. 2018; wang2022 §2.1).

    A start is uniform in the ball (in l2: in direction and distance), and cut by the box before the first gradient.

    Args:
        restarts: how many starts, at least 1. Per image the first misclassified result is kept, or else the one with
            the highest loss.
    """

    restarts: PositiveInt = 1

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        return ball.random_inside(noise)

    def attempts(self) -> int:
        return self.restarts


@register("cw-linf")
@configurable
class CwLinf(Pgd):
    """PGD that maximises the margin between the best wrong logit and the label's, up to `confidence`.

    The loss is that of Carlini & Wagner 2017, f6, the search is not theirs: what wang2022 and its peers report as CW.

    Args:
        confidence: by how much the wrong logit may lead before the loss stops rising, at least 0.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    follows: ClassVar[Followed] = "margin"
    cross_entropy_twin: ClassVar[str] = "pgd"

    confidence: NonNegativeFloat = 50.0

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return margin(logits, targets).clamp(max=self.confidence)


@register("pgd-targeted")
@configurable
class PgdTargeted(Pgd):
    """PGD that minimises the cross-entropy to a class drawn among the wrong ones (xie2020; PGD^T in wang2022).

    xie2020's text draws among all classes, its code (followed here) among the others. Each restart draws again. An
    image counts as fooled when it is taken for any wrong class, as xie2020 measures accuracy on the true label. On many
    classes this is a weaker test than untargeted PGD, so the two belong in different columns.

    Args:
        clean_start: with this chance an image is attacked from itself and not from a random point; 0.2 when xie2020
            trains, 0 when it evaluates (its §3). Drawn for each image, as its text reads; its code draws once a batch.
    """

    targeted: ClassVar[bool] = True

    clean_start: Share = 0.0

    def start(self, ball: Ball, noise: Noise) -> Tensor:
        chance = (noise.stream(_CLEAN).uniform(()) + 1) / 2
        return torch.where(per_image(chance < self.clean_start), ball.centre, super().start(ball, noise))

    def targets(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return random_wrong(labels, model.classes(images), noise.stream(_TARGETS))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -super().loss(logits, targets)
