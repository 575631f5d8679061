"""The balls that an attack may search, one class per norm: around the clean images, clipped to the pixel box.

A ball projects points into itself, gives the steepest direction of unit length, and draws random starts.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from nofrost.attacks.random import Noise, widest_float

_IMAGE = (1, 2, 3)
# Rounding of pixels changes a length by about 1e-7. So project to slightly less than the radius and tolerate slightly
# more: then a point that was projected once is not moved again
_AIM = 1 - 1e-6
_PASS = 2e-7


def per_image(values: Tensor) -> Tensor:
    """Return [N] `values` as [N, 1, 1, 1], to combine with images."""
    return values[:, None, None, None]


def over_peak(gradient: Tensor) -> Tensor:
    """Return each gradient [N, C, H, W] divided by its largest absolute entry; a zero gradient stays zero."""
    # before any norm is taken: sums and squares of a vanishing gradient would underflow to zero
    peak = gradient.abs().amax(_IMAGE, keepdim=True)
    return gradient / torch.where(peak > 0, peak, 1.0)


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
        """Return [N, C, H, W] `points` projected into the ball; those inside it come back unchanged."""

    @staticmethod
    @abstractmethod
    def direction(gradient: Tensor) -> Tensor:
        """Return, per image, the vector of unit norm that rises most along `gradient`; zero where that is zero."""

    @abstractmethod
    def random_inside(self, noise: Noise) -> Tensor:
        """Return [N, C, H, W] images spread over the ball, clipped to the box: where PGD starts.

        In linf they are uniform; in l2 uniform in direction and in distance, since points uniform in an l2 ball of
        many dimensions lie near its surface, from where few steps lead less far.
        """

    @abstractmethod
    def random_boundary(self, noise: Noise) -> Tensor:
        """Return [N, C, H, W] images on the ball's boundary, clipped to the box: where APGD starts."""

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.centre.shape[1:])


class LinfBall(Ball):
    """Every pixel may change by at most `eps`."""

    def project(self, points: Tensor) -> Tensor:
        # the bounds are computed at each call: stored, they would take the memory of two more batches of images
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
        # the box first: clipping afterwards would waste part of the length, and a shortened change stays in the box
        points = points.clamp(0, 1)
        change = points - self.centre
        length = _length(change)
        # a point inside is returned bit for bit, which centre + (point - centre) would not guarantee
        shrunk = self.centre + change * (self.eps * _AIM / length)
        return torch.where(length > self.eps + _PASS, shrunk, points).clamp_(0, 1)

    @staticmethod
    def direction(gradient: Tensor) -> Tensor:
        scaled = over_peak(gradient)
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
    # in float64: summed in float32 the length of an image of 224 x 224 is wrong by 1e-6 of itself
    wide = widest_float(vectors.device)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=_IMAGE, keepdim=True, dtype=wide)
    return length.to(vectors.dtype)


BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}
