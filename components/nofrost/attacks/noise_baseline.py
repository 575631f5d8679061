"""Additive white Gaussian noise: the baseline beside which an attack is judged."""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import interpolate

from nofrost.attacks.base import Access, Attack, register
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.random import Noise
from nofrost.attacks.search import AttemptBatch, Best, run_attempts
from nofrost.config.fraction import PositivePixels
from nofrost.errors import UserError
from nofrost.registry import configurable


@register("awgn")
@configurable
class Awgn(Attack):
    """Additive white Gaussian noise, projected into ball and box: the baseline that every attack must beat.

    galloway2019 has no budget: it adds N(0, 1) to MNIST of unit variance (its section on input dimension) and a quarter
    of that to normalised CIFAR-10 (its code), and cuts nothing: ``sigma=1, space="normalised", clip=False``.

    Args:
        sigma: standard deviation of the noise, more than 0, in units of `space`. Default: for ``l2`` eps / sqrt(d) with
            d values per image, so that its length is about `eps`; for ``linf`` eps / 2, so that 5 % is cut.
        space: ``pixel`` of [0, 1], or ``normalised``: `sigma` is a multiple of the deviation of each channel that the
            model divides pixels by, that of its training images.
        clip: whether the noise is projected into ball and box; otherwise its images leave both.
        before_resize: side in pixels of the images before they were enlarged. The noise is drawn on so many pixels and
            enlarged with them (bicubic, as `nofrost prepare --image-size` does; galloway2019, footnote 6): as resizing
            is linear, it is what images that were enlarged after the noise was added would have. None: on all pixels.
        draws: how many draws, at least 1. Per image the first misclassified one is kept, or else the one with the
            highest loss.

    Raises:
        UserError: also in a call, for `space` normalised and a model that is not of this package.
    """

    access: ClassVar[Access] = "outputs"

    sigma: PositivePixels | None = None
    space: Literal["pixel", "normalised"] = "pixel"
    clip: bool = True
    before_resize: Annotated[int, Field(ge=1, le=10_000)] | None = None
    draws: PositiveInt = 1

    @model_validator(mode="after")
    def _the_normalised_space_has_a_sigma(self) -> Self:
        if self.space == "normalised" and self.sigma is None:
            raise UserError("space: normalised is the unit of sigma, which is not set: set it, such as sigma: 1")
        return self

    def stays_inside(self) -> bool:
        return self.clip

    def deviation(self, images: Tensor) -> float:
        """Return the standard deviation of the noise for `images` [N, C, H, W], in units of `space`."""
        if self.sigma is not None:
            return self.sigma
        return self.eps / 2 if self.norm == "linf" else self.eps / math.sqrt(images[0].numel())

    def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        unit = model.std.to(images)[:, None, None] if self.space == "normalised" else 1.0

        def draw(batch: AttemptBatch) -> Best:
            own = batch.of(images)
            points = own + self.deviation(own) * unit * self._grain(batch.noise(noise), own)
            points = self.ball(own).project(points) if self.clip else points
            return Best(points, *model.loss(points, batch.of(labels), error_log_odds))

        return run_attempts(draw, self.draws, images, early_stop=True).points

    def _grain(self, noise: Noise, images: Tensor) -> Tensor:
        """Return noise of deviation 1 where it is drawn, as large as `images` [n, C, H, W]."""
        if self.before_resize is None:
            return noise.normal(images.shape[1:], images.dtype)
        channels, *size = images.shape[1:]
        sides = [max(1, round(self.before_resize * side / min(size))) for side in size]
        grain = noise.normal((channels, *sides), images.dtype)
        return interpolate(grain, size=size, mode="bicubic", antialias=True)
