"""RayS: search for the signs along which the decision boundary is nearest, from decisions alone (Chen & Gu 2020)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.base import Access, Attack, register
from nofrost.attacks.model import CheckedModel, Model
from nofrost.attacks.norms import per_image
from nofrost.attacks.random import Noise
from nofrost.attacks.session import attack_session, to_search_dtype
from nofrost.registry import configurable

# Euclidean length at which the bisection of the authors' code stops
_TOLERANCE = 1e-3


@register("rays")
@configurable
class Rays(Attack):
    """Searches for the signs along which the decision boundary is nearest (Chen & Gu 2020).

    It draws no random numbers. Called as an attack it stops on an image as soon as it is known to be misclassified
    within `eps`; other images come back at `eps` along the best direction.

    Args:
        queries: how often the model sees a version of an image, at least 1: the clean image, one for each block that is
            flipped, and one for each step of a bisection. The authors take 10,000, their leaderboard 40,000, wang2022
            took 400, which is far too few for images of 224 x 224 pixels.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    access: ClassVar[Access] = "outputs"
    random_start: ClassVar[bool] = False

    queries: PositiveInt = 10_000

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
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
        with attack_session(model, images, labels, indices, seed=self.seed) as checked:
            clean = to_search_dtype(images)
            if len(clean) == 0:
                return clean.new_empty(0)
            distance, signs = search_boundary(checked, clean, labels.clone(), self.queries, enough=0.0)
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


@torch.no_grad()
def search_boundary(
    model: CheckedModel, images: Tensor, labels: Tensor, queries: int, enough: float
) -> tuple[Tensor, Tensor]:
    """Return how far the decision boundary is along the best direction, and that direction.

    The model was observed to be wrong at exactly this distance.

    Args:
        model: only its decisions count.
        images: [N, C, H, W] in [0, 1].
        labels: [N] int64.
        queries: how many versions of an image the model sees, at least 1, the clean image included.
        enough: an image is done once its distance is at most this.

    Returns:
        [N] distances that every pixel goes, before it is cut to [0, 1]: 0 for images that are misclassified as they
        are, infinite where no misclassified image was found. And the directions [N, C, H, W], 1 or -1.
    """
    rays = _Rays.begin(images, misclassified=model(images).argmax(1) != labels)
    distances, directions = rays.best()
    rows = torch.arange(len(images), device=images.device)
    for _ in range(queries - 1):
        active = (rays.reached() > enough).nonzero().squeeze(1)
        if len(active) < len(rows):
            distances[rows], directions[rows] = rays.best()
            rows, labels, rays = rows[active], labels[active], rays[active]
        if len(rows) == 0:
            break
        points, distance = rays.aim()
        rays.learn(model(points.view(-1, *images.shape[1:])).argmax(1) != labels, distance)
    distances[rows], directions[rows] = rays.best()
    return distances, directions.view_as(images)


@dataclass
class _Rays:
    """State of the search; every field has one entry per image.

    Each turn flips one block of the best signs. If the image is then still misclassified at the best distance, the
    boundary is located by bisection and the flip is kept. After the last block all blocks are halved.
    """

    clean: Tensor  # [N, pixels]
    signs: Tensor  # [N, pixels], the best direction with the block flipped
    distance: Tensor  # along the best direction
    level: Tensor  # there are 2^level blocks
    block: Tensor
    bisecting: Tensor  # whether the boundary is being searched between low and high
    low: Tensor
    high: Tensor

    @classmethod
    def begin(cls, images: Tensor, misclassified: Tensor) -> _Rays:
        """Start from all signs positive, all of which the first turn flips."""
        clean = images.flatten(1)
        distance = torch.where(misclassified, 0.0, torch.inf).to(clean)
        none, zero = torch.zeros_like(misclassified), torch.zeros_like(misclassified, dtype=torch.int64)
        return cls(clean, torch.full_like(clean, -1), distance, zero, zero, none, distance, distance)

    def __getitem__(self, rows: Tensor) -> _Rays:
        return _Rays(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def reached(self) -> Tensor:
        """Return the least distance at which the model is known to be wrong, [N]."""
        return torch.where(self.bisecting, torch.minimum(self.high, self.distance), self.distance)

    def best(self) -> tuple[Tensor, Tensor]:
        """Return the least distance at which the model is known to be wrong, [N], and the signs there, [N, pixels]."""
        reached = self.reached()
        signs = self.signs.clone()
        self._flip(signs, reached == self.distance)
        return reached, signs

    def aim(self) -> tuple[Tensor, Tensor]:
        """Return the images to query next, [N, pixels], and their distance, [N]."""
        # at a distance of 1 every pixel has arrived at 0 or 1
        distance = torch.where(self.bisecting, (self.low + self.high) / 2, self.distance.clamp(max=1))
        return torch.addcmul(self.clean, distance[:, None], self.signs).clamp_(0, 1), distance

    def learn(self, misclassified: Tensor, distance: Tensor) -> None:
        """Update the state with the model's decisions ([N] bool) on images at this distance."""
        starts = misclassified & ~self.bisecting
        self.high = torch.where(misclassified, distance, self.high)
        self.low = torch.where(starts, 0, torch.where(misclassified, self.low, distance))
        located = self.bisecting & (self.high - self.low <= _TOLERANCE / self.clean.shape[1] ** 0.5)
        nearer = located & (self.high < self.distance)
        self.distance = torch.where(nearer, self.high, self.distance)
        over = located | ~(self.bisecting | misclassified)
        self.bisecting = starts | (self.bisecting & ~located)
        self._flip(self.signs, over & ~nearer)
        self._next_block(over)
        self._flip(self.signs, over)

    def _block_size(self) -> Tensor:
        return (self.clean.shape[1] + (1 << self.level) - 1) >> self.level

    def _next_block(self, mask: Tensor) -> None:
        pixels = self.clean.shape[1]
        block = self.block + 1
        # if flipping all signs did not fool the model, the second turn flips none; the authors' code never tries that
        unflipped = (self.level == 0) & (block == 1) & self.distance.isinf()
        last = (block * self._block_size() >= pixels) & ~unflipped
        # blocks have at least one pixel
        level = torch.where(last, (self.level + 1).clamp(max=(pixels - 1).bit_length()), self.level)
        self.level = torch.where(mask, level, self.level)
        self.block = torch.where(mask, block.masked_fill(last, 0), self.block)

    def _flip(self, signs: Tensor, mask: Tensor) -> None:
        """Flip the block in `signs` [N, pixels], in place, for images in `mask` ([N] bool)."""
        rows = mask.nonzero()
        if len(rows) == 0:
            return
        size = self._block_size()[rows]
        first = self.block[rows] * size
        last = (first + size).clamp(max=signs.shape[1])
        pixels = first + torch.arange(int(size.max()), device=signs.device)
        positions = (rows * signs.shape[1] + pixels)[pixels < last]
        signs.view(-1)[positions] *= -1
