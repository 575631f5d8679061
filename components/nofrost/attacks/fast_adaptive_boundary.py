"""Fast adaptive boundary attacks: steps to the linearised decision boundary, kept near the clean image.

What FAB and its targeted version share; they differ in the boundary that they linearise.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from nofrost.attacks.asking import asking, searched
from nofrost.attacks.base import Access, Attack
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.guard import Model
from nofrost.attacks.hyperplane import Hyperplanes, length
from nofrost.attacks.losses import margin
from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import per_image
from nofrost.attacks.search import Found, Search
from nofrost.config.base import Share
from nofrost.registry import configurable

# The ball's projection leaves points alone that are this far inside, so that what was judged is what is returned
_INSIDE = 2e-7
_FINAL_STEPS = 3
_BEYOND = 0.05


@configurable
class FastAdaptiveBoundary(Attack):
    """Searches for the smallest perturbation that changes the decision (Croce & Hein 2020, algorithm 1).

    A step goes to the linearised boundary and beyond by `overshoot`, from the current point and from the clean image,
    and mixes the two. A misclassified point is moved back towards the clean image before the next step. The first run
    starts at the clean image, later ones at random, half as far away as the smallest perturbation found or `eps`,
    whichever is less. At the end comes the paper's final search on the line to the clean image, which AutoAttack's code
    leaves out. Only differences of logits count: scaling the logits changes nothing.

    Called as an attack it lets an image go at the first misclassified point within `eps`, as robust accuracy asks no
    more. Other images come back as the nearest misclassified point, moved into the ball, or as they were. For the
    smallest perturbations ask `distances`, which searches to the end.

    Args:
        steps: how many gradient steps, at least 1.
        restarts: how many runs, at least 1; all but the first from a random start.
        alpha_max: the largest share of the step from the clean image, in [0, 1].
        overshoot: how many times as long a step is as the way to the boundary, at least 1; the paper's eta.
        backward_step: the share of its perturbation that a misclassified point goes on with, in [0, 1]; its beta.
    """

    access: ClassVar[Access] = "gradient"
    random_start: ClassVar[bool] = False

    steps: PositiveInt = 100
    restarts: PositiveInt = 1
    alpha_max: Share = 0.1
    overshoot: Annotated[float, Field(ge=1)] = 1.05
    backward_step: Share = 0.9

    @abstractmethod
    def goals(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return which classes each run of a restart is about, [N, runs] int64, from the clean images' logits."""

    @abstractmethod
    def linearise(self, model: Classifier, points: Tensor, labels: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Return by how much another class' logit is above the label's, [N], and its gradient [N, C, H, W]."""

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        return self._nearest(model, images, labels, noise, enough=max(self.eps - _INSIDE, 0.0)).points

    def distances(self, model: Model, images: Tensor, labels: Tensor, *, indices: Tensor | None = None) -> Tensor:
        """Return the size of the smallest perturbation found per image, [N] in pixels; infinite where none was.

        Zero for images that are misclassified as they are. No image is let go early, and none is given up beyond `eps`,
        which only sets where random starts lie. An upper bound on the distance to the decision boundary.

        Args, and errors: those of a call of the attack.
        """
        with asking(model, images, labels, indices, seed=self.seed) as classifier:
            clean = searched(images)
            if len(clean) == 0:
                return clean.new_empty(0)
            places = torch.arange(len(clean), device=clean.device) if indices is None else indices
            found = self._nearest(classifier, clean, labels.clone(), Noise.of(self.seed, places), enough=0.0)
        return -found.loss

    def _nearest(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise, enough: float) -> Found:
        """Return the nearest misclassified points, their loss being the negative distance.

        Fooled are those no farther than `enough`; on them no more work is spent.
        """
        with torch.no_grad():
            logits = model(images)
        goals = self.goals(logits, labels)
        found = self._rated(images, images.clone(), logits.argmax(1) != labels, enough)
        for run in range(self.restarts * goals.shape[1]):
            restart, aim = divmod(run, goals.shape[1])
            rows = (~found.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            clean, part = images[rows], found[rows]
            start = self._random_start(clean, -part.loss, noise[rows].stream(run)) if restart else clean
            again = self._walk(model, clean, start, labels[rows], goals[rows, aim], enough)
            part.improve(again.points, again.loss, again.fooled)
            found[rows] = part
        return self._final_search(model, images, found, labels, enough)

    def _rated(self, clean: Tensor, points: Tensor, wrong: Tensor, enough: float) -> Found:
        distance = length(points - clean, self.norm)
        return Found(points, torch.where(wrong, -distance, -torch.inf), wrong & (distance <= enough))

    def _random_start(self, clean: Tensor, distance: Tensor, noise: Noise) -> Tensor:
        share = distance.clamp(max=self.eps) / (2 * self.eps or 1)
        return torch.lerp(clean, self.ball(clean).random_boundary(noise), per_image(share))

    def _walk(
        self, model: Classifier, clean: Tensor, points: Tensor, labels: Tensor, goals: Tensor, enough: float
    ) -> Found:
        search = Search(clean, early_stop=True)
        for _ in range(self.steps):
            points = self._step(clean, points, *self.linearise(model, points, labels, goals))
            _, wrong = model.judge(points, labels, margin)
            rated = self._rated(clean, points, wrong, enough)
            search.record(rated.points, rated.loss, rated.fooled)
            points = torch.where(per_image(wrong), torch.lerp(clean, points, self.backward_step), points)
            if (left := search.narrow()) is not None:
                if len(left) == 0:
                    break
                clean, points, labels, goals = clean[left], points[left], labels[left], goals[left]
        return search.result()

    def _final_search(self, model: Classifier, clean: Tensor, found: Found, labels: Tensor, enough: float) -> Found:
        """Move what was found towards the clean image, by the secant rule on the margin along the line.

        It aims a little beyond where the margin is zero: a point on the boundary itself is misclassified by chance.
        """
        rows = (~found.fooled & found.loss.isfinite()).nonzero().squeeze(1)
        if len(rows) == 0:
            return found
        clean, labels, best = clean[rows], labels[rows], found[rows]
        right, wrong = clean, best.points
        below, _ = model.judge(right, labels, margin)
        above, _ = model.judge(wrong, labels, margin)
        for _ in range(_FINAL_STEPS):
            share = _BEYOND + (1 - _BEYOND) * (below / (below - above)).nan_to_num(0.5)
            between = torch.lerp(right, wrong, per_image(share))
            value, beyond = model.judge(between, labels, margin)
            rated = self._rated(clean, between, beyond, enough)
            best.improve(rated.points, rated.loss, rated.fooled)
            right = torch.where(per_image(beyond), right, between)
            wrong = torch.where(per_image(beyond), between, wrong)
            below, above = torch.where(beyond, below, value), torch.where(beyond, value, above)
        found[rows] = best
        return found

    def _step(self, clean: Tensor, points: Tensor, lead: Tensor, normal: Tensor) -> Tensor:
        planes = Hyperplanes(normal, self.norm)
        onward = planes.step(points, -lead)
        lead_at_clean = lead + (normal * (clean - points)).flatten(1).sum(1)
        from_clean = planes.step(clean, -lead_at_clean)
        ways = length(onward, self.norm), length(from_clean, self.norm)
        share = per_image((ways[0] / (ways[0] + ways[1]).clamp(min=1e-12)).clamp(max=self.alpha_max))
        onward = onward.mul_(self.overshoot).add_(points)
        from_clean = from_clean.mul_(self.overshoot).add_(clean)
        return torch.lerp(onward, from_clean, share).clamp_(0, 1)
