"""The balls that an attack may search, one class per norm: around the clean images, cut by the pixel box.

A ball knows how to `project` into itself, the steepest `direction` of unit length, and where a random start lies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from nofrost.attacks.random import Noise

_IMAGE = (1, 2, 3)
# Rounding pixels moves a length by about 1e-7. So aim this share below the radius, and let that much beyond it pass:
# then a point that was projected once is not moved again
_AIM = 1 - 1e-6
_PASS = 2e-7


def per_image(values: Tensor) -> Tensor:
    """Return [N] `values` as [N, 1, 1, 1], to combine with images."""
    return values[:, None, None, None]


class Ball(ABC):
    """All images within `eps` of `centre` and in [0, 1].

    Args:
        centre: [N, C, H, W] clean images in [0, 1].
        eps: radius, at least 0.
    """

    def __init__(self, centre: Tensor, eps: float) -> None:
        self.centre = centre
        self.eps = eps

    def __getitem__(self, rows: Tensor) -> Self:
        """Return the ball around some of the images: `rows` is [M] int64."""
        return type(self)(self.centre[rows], self.eps)

    @abstractmethod
    def project(self, points: Tensor) -> Tensor:
        """Return [N, C, H, W] `points` inside; those that are inside already come back unchanged."""

    @staticmethod
    @abstractmethod
    def direction(gradient: Tensor) -> Tensor:
        """Return, per image, the vector of unit norm that rises most along `gradient`; zero where that is zero."""

    @abstractmethod
    def random_inside(self, noise: Noise) -> Tensor:
        """Return [N, C, H, W] images all over the ball, cut by the box: where PGD starts.

        In linf uniform; in l2 uniform in direction and in distance, as a point uniform in an l2 ball of many dimensions
        would lie at its surface, from where few steps lead less far.
        """

    @abstractmethod
    def random_boundary(self, noise: Noise) -> Tensor:
        """Return [N, C, H, W] images on the ball's boundary, cut by the box: where APGD starts."""

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.centre.shape[1:])


class LinfBall(Ball):
    """Every pixel may change by at most `eps`."""

    def project(self, points: Tensor) -> Tensor:
        # its bounds are made anew: kept, they would take two batches of images beside the model's activations
        return points.clamp(self.centre - self.eps, self.centre + self.eps).clamp_(0, 1)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        return gradient.sign()

    def random_inside(self, noise: Noise) -> Tensor:
        return self.project(self.centre + self.eps * noise.uniform(self._shape(), self.centre.dtype))

    def random_boundary(self, noise: Noise) -> Tensor:
        cube = noise.uniform(self._shape(), self.centre.dtype)
        return self.project(self.centre + self.eps * (cube / cube.abs().amax(_IMAGE, keepdim=True)))


class L2Ball(Ball):
    """The change of an image has a Euclidean length of at most `eps`."""

    def project(self, points: Tensor) -> Tensor:
        # the box first: what it cuts off is then not missing from the length, and a shorter change leaves it no more
        points = points.clamp(0, 1)
        change = points - self.centre
        length = _length(change)
        # an image inside keeps its own bits, which centre + (point - centre) would not promise
        shrunk = self.centre + change * (self.eps * _AIM / length)
        return torch.where(length > self.eps + _PASS, shrunk, points).clamp_(0, 1)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        # by its largest entry first: the squares of a vanishing gradient would underflow to a length of zero
        peak = gradient.abs().amax(_IMAGE, keepdim=True)
        scaled = gradient / torch.where(peak > 0, peak, 1.0)
        return scaled / _length(scaled).clamp(min=1)

    def random_inside(self, noise: Noise) -> Tensor:
        share = (noise.stream(0).uniform((), self.centre.dtype) + 1) / 2
        return self.project(self.centre + per_image(self.eps * share) * self._random_direction(noise))

    def random_boundary(self, noise: Noise) -> Tensor:
        return self.project(self.centre + self.eps * self._random_direction(noise))

    def _random_direction(self, noise: Noise) -> Tensor:
        return self.direction(noise.stream(1).normal(self._shape(), self.centre.dtype))


def _length(vectors: Tensor) -> Tensor:
    """Return the Euclidean length per image, [N, 1, 1, 1]."""
    # in float64: summed in float32 an image of 224 x 224 is wrong by 1e-6 of the length. Apple's devices have none.
    wide = torch.float32 if vectors.device.type == "mps" else torch.float64
    length: Tensor = torch.linalg.vector_norm(vectors, dim=_IMAGE, keepdim=True, dtype=wide)
    return length.to(vectors.dtype)


BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}
