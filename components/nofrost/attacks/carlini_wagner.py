"""Carlini and Wagner's l2 attack: the smallest perturbation as an optimisation problem (Carlini & Wagner 2017)."""

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, register
from nofrost.attacks.losses import margin
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.nearest import NearestPoint
from nofrost.attacks.norms import per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.search import Best, Search
from nofrost.registry import configurable

# The tanh space has no point for pixels of exactly 0 and 1: the authors' code draws them in by this factor
_WITHIN = 1 - 1e-6
# c grows tenfold until it succeeds once, then the interval is halved
_GROWTH = 10
# Adam's own decay rates and epsilon (Kingma & Ba 2015)
_DECAY_1, _DECAY_2, _EPSILON = 0.9, 0.999, 1e-8


@register("cw-l2")
@configurable
class CwL2(NearestPoint):
    """The l2 attack of Carlini & Wagner 2017 (section VI.A), untargeted.

    Adam minimises |x' - x|^2 + c max(z_y - max_{i != y} z_i + confidence, 0) over w, with x' = (tanh(w) + 1) / 2, so
    that pixels stay in [0, 1]. A binary search finds, for each image by itself, the smallest c that succeeds; the
    nearest misclassified point of all steps is kept. Their abort of a run that makes no progress is left out, as it
    looks at the batch as a whole.

    Args:
        steps: of Adam for each c, at least 1; their code has 10,000.
        search_steps: how many values of c are tried, at least 1.
        initial_c: the first c, more than 0.
        confidence: by how much a wrong logit must lead for a point to count, at least 0; their kappa.
        learning_rate: of Adam, more than 0.
    """

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    access: ClassVar[Access] = "gradient"
    random_start: ClassVar[bool] = False

    norm: str = "l2"
    steps: PositiveInt = 1000
    search_steps: PositiveInt = 9
    initial_c: PositiveFloat = 1e-3
    confidence: NonNegativeFloat = 0.0
    learning_rate: PositiveFloat = 0.01

    def nearest(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise, enough: float) -> Best:
        lead, wrong = model.loss(images, labels, margin)
        best = self.rate(images, images.clone(), wrong & (lead >= self.confidence), enough)
        weight, low = torch.full_like(lead, self.initial_c), torch.zeros_like(lead)
        high = torch.full_like(lead, torch.inf)
        for _ in range(self.search_steps):
            rows = (~best.fooled).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            found = self._minimise(model, images[rows], labels[rows], weight[rows], enough)
            best.improve_rows(rows, found.points, found.loss, found.fooled)
            succeeded = torch.zeros_like(best.fooled)
            succeeded[rows] = found.loss.isfinite()
            high = torch.where(succeeded, torch.minimum(high, weight), high)
            low = torch.where(succeeded, low, torch.maximum(low, weight))
            weight = torch.where(high.isfinite(), (low + high) / 2, weight * _GROWTH)
        return best

    def _minimise(self, model: CheckedModel, clean: Tensor, labels: Tensor, weight: Tensor, enough: float) -> Best:
        """Return the nearest points that succeed on the path of Adam with these c, [N]."""
        space = torch.atanh((2 * clean - 1) * _WITHIN)
        first, second = torch.zeros_like(space), torch.zeros_like(space)
        search = Search(clean, early_stop=True)
        for step in range(1, self.steps + 1):
            slope = torch.tanh(space)
            points = (slope + 1) / 2
            shortfall, wrong, gradient = model.loss_and_grad(points, labels, self._shortfall)
            rated = self.rate(clean, points, wrong & (shortfall == 0), enough)
            search.record(rated.points, rated.loss, rated.fooled)
            if (active := search.narrow()) is not None:
                if len(active) == 0:
                    return search.result()
                clean, labels, weight, space = clean[active], labels[active], weight[active], space[active]
                points, slope, gradient = points[active], slope[active], gradient[active]
                first, second = first[active], second[active]
            total = (2 * (points - clean) + per_image(weight) * gradient) * (1 - slope**2) / 2
            first = torch.lerp(total, first, _DECAY_1)
            second = torch.lerp(total**2, second, _DECAY_2)
            scale = (second / (1 - _DECAY_2**step)).sqrt() + _EPSILON
            space = space - self.learning_rate * first / (1 - _DECAY_1**step) / scale
        points = (torch.tanh(space) + 1) / 2
        shortfall, wrong = model.loss(points, labels, self._shortfall)
        rated = self.rate(clean, points, wrong & (shortfall == 0), enough)
        search.record(rated.points, rated.loss, rated.fooled)
        return search.result()

    def _shortfall(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return by how much the best wrong logit falls short of leading by `confidence`, [N], at least 0."""
        return (self.confidence - margin(logits, labels)).clamp(min=0)
