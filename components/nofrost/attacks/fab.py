"""FAB: steps to the linearised decision boundary, kept near the clean image (Croce & Hein 2020).

Its inner problem is the shortest step onto a hyperplane that stays in the pixel box: `Hyperplanes`.
"""

from abc import abstractmethod
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, register
from nofrost.attacks.hyperplanes import Hyperplanes, distance_to_plane, length
from nofrost.attacks.losses import likeliest_wrong, margin, targeted_margin
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.nearest import NearestPoint
from nofrost.attacks.norms import per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import AttemptBatch, Best, Search, run_attempts
from nofrost.config.base import Share
from nofrost.registry import configurable

# Steps of the search on the line to the clean image, and how far beyond the boundary it aims, as a share of the line
_FINAL_STEPS = 3
_BEYOND = 0.05


@configurable
class FastAdaptiveBoundary(NearestPoint):
    """Searches for the smallest perturbation that changes the decision (Croce & Hein 2020, algorithm 1).

    A step goes to the linearised boundary and beyond by `overshoot`, from the current point and from the clean image,
    and mixes the two. A misclassified point is moved back towards the clean image before the next step. The first run
    starts at the clean image, later ones at random, half as far away as the smallest perturbation found or `eps`,
    whichever is less. At the end comes the paper's final search on the line to the clean image, which AutoAttack's code
    leaves out. Only differences of logits count: scaling the logits changes nothing.

    `eps` also sets where random starts of `distances` lie.

    Args:
        steps: how many gradient steps, at least 1.
        restarts: how many runs, at least 1; all but the first from a random start.
        alpha_max: the largest share of the step from the clean image, in [0, 1].
        overshoot: length of a step as a multiple of the distance to the boundary, at least 1; the paper's eta.
        backward_step: the share of its perturbation that a misclassified point keeps, in [0, 1]; the paper's beta.
    """

    access: ClassVar[Access] = "gradient"
    random_start: ClassVar[bool] = False

    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    alpha_max: Share = 0.1
    overshoot: Annotated[float, Field(ge=1)] = 1.05
    backward_step: Share = 0.9

    @abstractmethod
    def target_classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the class that each run of a restart aims at, [N, runs] int64, from the clean images' logits."""

    @abstractmethod
    def linearise(self, model: CheckedModel, points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lead of another class' logit over the label's, [N], and its gradient [N, C, H, W]."""

    def nearest(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise, enough: float) -> Best:
        with torch.no_grad():
            logits = model(images)
        targets = self.target_classes(logits, labels)
        best = self.rate(images, images.clone(), logits.argmax(1) != labels, enough)
        aims = targets.shape[1]

        def attempt(restart: int, batch: AttemptBatch) -> Best:
            start = clean = batch.of(images)
            if restart:
                start = self._random_start(clean, -batch.of(best.loss), batch.noise(noise, restart * aims))
            return self._walk(model, clean, start, batch.of(labels), batch.column(targets), enough, batch.count)

        for restart in range(self.restarts):
            # A random start depends on what all runs before it have found, so that these do not share a batch
            at_once = 1 if restart else model.batch_size
            run_attempts(partial(attempt, restart), aims, images, early_stop=True, at_once=at_once, best=best)
        return self._final_search(model, images, best, labels, enough)

    def _random_start(self, clean: Tensor, distance: Tensor, noise: Noise) -> Tensor:
        share = distance.clamp(max=self.eps) / (2 * self.eps or 1)
        return torch.lerp(clean, self.ball(clean).random_boundary(noise), per_image(share))

    def _walk(
        self,
        model: CheckedModel,
        clean: Tensor,
        points: Tensor,
        labels: Tensor,
        targets: Tensor,
        enough: float,
        attempts: int,
    ) -> Best:
        search = Search(clean, early_stop=True, attempts=attempts)
        for _ in range(self.steps):
            points = self._step(clean, points, *self.linearise(model, points, labels, targets))
            _, wrong = model.loss(points, labels, margin)
            rated = self.rate(clean, points, wrong, enough)
            search.record(rated.points, rated.loss, rated.fooled)
            points = torch.where(per_image(wrong), torch.lerp(clean, points, self.backward_step), points)
            if (active := search.narrow()) is not None:
                if len(active) == 0:
                    break
                clean, points, labels, targets = clean[active], points[active], labels[active], targets[active]
        return search.result()

    def _final_search(self, model: CheckedModel, clean: Tensor, best: Best, labels: Tensor, enough: float) -> Best:
        """Move the points towards the clean images, by the secant rule on the margin along the line.

        It aims a little beyond where the margin is zero: a point on the boundary itself is misclassified by chance.
        """
        rows = (~best.fooled & best.loss.isfinite()).nonzero().squeeze(1)
        if len(rows) == 0:
            return best
        clean, labels, moved = clean[rows], labels[rows], best[rows]
        right, wrong = clean, moved.points
        below, _ = model.loss(right, labels, margin)
        above, _ = model.loss(wrong, labels, margin)
        for _ in range(_FINAL_STEPS):
            share = _BEYOND + (1 - _BEYOND) * (below / (below - above)).nan_to_num(0.5)
            between = torch.lerp(right, wrong, per_image(share))
            value, beyond = model.loss(between, labels, margin)
            rated = self.rate(clean, between, beyond, enough)
            moved.improve(rated.points, rated.loss, rated.fooled)
            right = torch.where(per_image(beyond), right, between)
            wrong = torch.where(per_image(beyond), between, wrong)
            below, above = torch.where(beyond, below, value), torch.where(beyond, value, above)
        best[rows] = moved
        return best

    def _step(self, clean: Tensor, points: Tensor, lead: Tensor, normal: Tensor) -> Tensor:
        planes = Hyperplanes(normal, self.norm)
        onward = planes.step(points, -lead)
        lead_at_clean = lead + (normal * (clean - points)).flatten(1).sum(1)
        from_clean = planes.step(clean, -lead_at_clean)
        lengths = length(onward, self.norm), length(from_clean, self.norm)
        share = per_image((lengths[0] / (lengths[0] + lengths[1]).clamp(min=1e-12)).clamp(max=self.alpha_max))
        onward = onward.mul_(self.overshoot).add_(points)
        from_clean = from_clean.mul_(self.overshoot).add_(clean)
        return torch.lerp(onward, from_clean, share).clamp_(0, 1)


@register("fab")
@configurable
class Fab(FastAdaptiveBoundary):
    """FAB towards the class whose linearised boundary is nearest (Croce & Hein 2020).

    A step takes C - 1 backward passes for C classes: for hundreds of classes use `fab-t`, as AutoAttack does.
    """

    def target_classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        return labels[:, None]

    def linearise(self, model: CheckedModel, points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        nearest = torch.full_like(points[:, 0, 0, 0], torch.inf)
        margin, normal = torch.zeros_like(nearest), torch.zeros_like(points)
        # one class at a time: the gradients of a thousand classes would not fit in memory together
        for value, gradient in model.margins(points, labels):
            distance = distance_to_plane(gradient, value, self.norm)
            nearer = distance < nearest
            nearest = torch.where(nearer, distance, nearest)
            margin = torch.where(nearer, value, margin)
            normal = torch.where(per_image(nearer), gradient, normal)
        return margin, normal


@register("fab-t")
@configurable
class FabT(FastAdaptiveBoundary):
    """FAB towards the boundary between label and target, for one target after the other (Croce & Hein 2020b).

    The third attack of AutoAttack. A step takes one backward pass, however many classes there are. An image counts as
    fooled when it is taken for any wrong class.

    Args:
        targets: how many wrong classes to aim at, at least 1, the likeliest of the clean image first; at most all.
    """

    targeted: ClassVar[bool] = True

    targets: PositiveInt = 9

    def target_classes(self, logits: Tensor, labels: Tensor) -> Tensor:
        return likeliest_wrong(logits, labels, self.targets)

    def linearise(self, model: CheckedModel, points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        margin, _, normal = model.loss_and_grad(points, labels, targeted_margin, torch.stack([labels, targets], 1))
        return margin, normal
