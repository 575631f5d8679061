"""Random erasing (Zhong et al. 2020, §3): a rectangle of an image is filled with random levels, or with black.

Drawing and applying are separate, so that processes that share a batch can draw for all images and erase in theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nofrost.config.recipe import RandomErasingSpec
from nofrost.errors import UserError

TRIES = 10  # draws for each image, of which the first that fits is taken


@dataclass(frozen=True)
class Erasures:
    """What is erased of each of n images.

    Attributes:
        boxes: int64 [n, 4], top, left, height and width in pixels; of height 0 where nothing is erased.
        seeds: int64 [n], of the levels.
        is_random: whether the levels are random, and not 0.
    """

    boxes: Tensor
    seeds: Tensor
    is_random: bool

    @classmethod
    def draw(cls, n: int, size: tuple[int, int], spec: RandomErasingSpec, generator: torch.Generator) -> Erasures:
        """Draw the rectangles as torchvision's ``RandomErasing`` does, for images of this height and width.

        A rectangle has a share of the area and a ratio of height to width (its logarithm uniform) between the bounds
        of `spec`, is smaller than the image on both sides, and lies anywhere in it. Where none of ten fits, nothing is
        erased.

        Raises:
            UserError: no rectangle within the bounds of `spec` fits, so that nothing would ever be erased.
        """
        _check_that_one_fits(size, spec)
        chosen = torch.rand(n, generator=generator) < spec.probability
        shares = _uniform((n, TRIES), spec.area, generator) * (size[0] * size[1])
        ratios = _uniform((n, TRIES), (math.log(spec.ratio[0]), math.log(spec.ratio[1])), generator).exp()
        drawn = torch.stack(((shares * ratios).sqrt().round(), (shares / ratios).sqrt().round()), dim=2)
        fits = (drawn < torch.tensor(size)).all(dim=2)
        first = drawn[torch.arange(n), fits.int().argmax(dim=1)] * (chosen & fits.any(dim=1))[:, None]
        room = torch.tensor(size) - first
        places = (torch.rand((n, 2), generator=generator, dtype=torch.float64) * (room + 1)).floor()
        seeds = torch.randint(2**63 - 1, (n,), generator=generator)
        return cls(torch.cat((places, first), dim=1).long(), seeds, spec.fill == "random")

    def __getitem__(self, rows: Tensor) -> Erasures:
        """Return what is erased of these images alone."""
        return Erasures(self.boxes[rows], self.seeds[rows], self.is_random)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the n images ([n, C, H, W] on the CPU: floats in [0, 1], or levels, uint8) with what is erased."""
        images = images.clone()
        for image, box, seed in zip(images, self.boxes.tolist(), self.seeds.tolist(), strict=True):
            top, left, height, width = box
            if not height:
                continue
            erased = image[:, top : top + height, left : left + width]
            if self.is_random:
                generator = torch.Generator().manual_seed(seed)
                fill = torch.randint(256, erased.shape, generator=generator, dtype=torch.uint8)
                erased.copy_(fill if images.dtype == torch.uint8 else fill / 255)
            else:
                erased.zero_()
        return images


def _check_that_one_fits(size: tuple[int, int], spec: RandomErasingSpec) -> None:
    """Check that the smallest area fits at some ratio: sides are rounded, and below those of the image."""
    area = spec.area[0] * size[0] * size[1]
    least, most = area / (size[1] - 0.5) ** 2, (size[0] - 0.5) ** 2 / area if area else math.inf
    if not (least < min(most, spec.ratio[1]) and spec.ratio[0] < most):
        raise UserError(
            f"views.random_erasing erases nothing of images of {size[0]} x {size[1]} pixels: no rectangle of "
            f"{spec.area[0]:g} of the area or more, with ratio {spec.ratio[0]:g} to {spec.ratio[1]:g}, is smaller than "
            "they are on both sides; lower area, or widen ratio"
        )


def _uniform(shape: tuple[int, int], bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(shape, generator=generator, dtype=torch.float64)
