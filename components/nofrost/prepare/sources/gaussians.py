"""The two-dimensional toy of galloway2019 (Figure 1): two normal distributions with one covariance."""

import hashlib

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.prepare.sources.base import Source, SourceData, register
from nofrost.prepare.sources.in_memory import array_part
from nofrost.seeds import derive_seed

MEANS = np.array([[-5.0, 0.0], [5.0, 0.0]])
COVARIANCE = np.array([[1.0, 0.05], [0.05, 0.01]])
_LARGEST = 10.0  # coordinate, that of level 255; a point has one chance in three million to lie further out


@register("gaussians")
class Gaussians(Source):
    """Points of two normal distributions, as images of 1 x 2 grey pixels; drawn by `seed`, `path` is not used.

    Both pixels have one scale, the levels 0 to 255 for the coordinates -10 to 10, so that the angle between two
    directions is that of the paper.

    Attributes:
        points: how many are drawn of both classes together; the paper does not say.
    """

    points: int = Field(default=10_000, ge=10, le=10_000_000, multiple_of=2)

    needs_path = False
    libraries = ("numpy",)

    def open(self) -> SourceData:
        """Return the points, class 0 around (-5, 0) first, then class 1 around (5, 0).

        Raises:
            UserError: `image_size` is set, which an image of two pixels cannot have.
        """
        if self.image_size is not None:
            raise UserError("dataset.image_size: source 'gaussians' has images of 1 x 2 pixels: leave image_size out")
        random = np.random.default_rng(derive_seed(self.seed, "gaussians"))
        factor = np.linalg.cholesky(COVARIANCE)
        labels = np.repeat(np.arange(2), self.points // 2)
        points = MEANS[labels] + random.standard_normal((self.points, 2)) @ factor.T
        images = levels(points)
        card = load_card("gaussians")
        content = images.tobytes() + labels.astype("<i8").tobytes()
        return SourceData(
            name=self.source,
            classes=card.class_names,
            train=array_part(images[:, None, :], labels.astype(np.int64), None),
            test=None,
            origin=f"{card.title} ({card.citation}), {self.points:,} points",
            licence=card.licence,
            checksums={"points": "sha256:" + hashlib.sha256(content).hexdigest()},
            url=card.url,
        )


def levels(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return coordinates as levels of pixels; what lies further out than -10 or 10 is moved there."""
    return np.rint((np.clip(points / _LARGEST, -1, 1) + 1) * 127.5).astype(np.uint8)
