"""RayS: a search for the nearest decision boundary that sees only the model's decisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.asking import asking, searched
from nofrost.attacks.base import Access, Attack
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.guard import Model
from nofrost.attacks.noise import Noise
from nofrost.attacks.norms import per_image
from nofrost.attacks.rays_search import search_boundary
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("rays")
@configurable
class Rays(Attack):
    """Searches for the signs along which the decision boundary is nearest (Chen & Gu 2020).

    It draws no random numbers. Called as an attack it lets an image go as soon as it is known to be misclassified
    within `eps`; other images come back at `eps` along the best direction found.

    Args:
        queries: how often the model is asked about an image, at least 1: about the clean image, once for each block
            that is flipped, and for each step of a bisection. The authors ask 10,000 times, their leaderboard 40,000
            times, wang2022 asked 400 times, which is far too few for images of 224 x 224 pixels.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    access: ClassVar[Access] = "outputs"
    random_start: ClassVar[bool] = False

    queries: PositiveInt = 10_000

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        distance, signs = search_boundary(model, images, labels, self.queries, enough=self.eps)
        return images + per_image(distance.clamp(max=self.eps)) * signs

    def boundary_distances(
        self, model: Model, images: Tensor, labels: Tensor, *, indices: Tensor | None = None
    ) -> Tensor:
        """Return the linf distance of each image to the nearest misclassified one found, [N] in pixels.

        Zero for images that are misclassified as they are, infinite where none was found. Every image gets all
        `queries`, and `eps` plays no part. An upper bound on the distance to the decision boundary.

        Args, and errors: those of a call of the attack.
        """
        with asking(model, images, labels, indices, seed=self.seed) as classifier:
            clean = searched(images)
            if len(clean) == 0:
                return clean.new_empty(0)
            distance, signs = search_boundary(classifier, clean, labels.clone(), self.queries, enough=0.0)
        nearest = (clean + per_image(distance.clamp(max=1)) * signs).clamp(0, 1)
        # pixels that were cut to the box went less far
        return torch.where(distance.isfinite(), (nearest - clean).abs().amax((1, 2, 3)), distance)


@dataclass(frozen=True)
class AverageBoundaryDistance:
    """ADBD, the average decision boundary distance (Chen & Gu 2020, section 4), and what it was measured on.

    Args:
        average: mean linf distance in pixels of the images with a known one, misclassified images counting as 0; NaN
            where there are none.
        images: how many distances were given.
        misclassified: how many of these are 0.
        unreached: how many of these are infinite, and left out of the mean, which without them is too low.
    """

    average: float
    images: int
    misclassified: int
    unreached: int

    @classmethod
    def of(cls, distances: Tensor) -> AverageBoundaryDistance:
        """Return it from the distances [N] of `Rays.boundary_distances`."""
        known = distances[distances.isfinite()]
        return cls(
            average=float(known.double().mean()),
            images=len(distances),
            misclassified=int((known == 0).sum()),
            unreached=len(distances) - len(known),
        )
