"""Distance to the nearest decision boundary that an attack without gradients finds."""

from __future__ import annotations

from torch import Tensor

from nofrost.attacks.model import Model
from nofrost.attacks.rays import Rays
from nofrost.evaluate.properties.precision import wide


def boundary_distance(model: Model, images: Tensor, labels: Tensor, *, queries: int = 10_000) -> Tensor:
    """Return the l-infinity distance of each image to the nearest misclassified one that RayS finds, float64 [N].

    In pixels of [0, 1]: 0 where the image itself is misclassified, infinite where none was found. An upper bound on the
    distance to the decision boundary; Chen & Gu 2020 report its mean as ADBD. Larger is better.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N].
        queries: how often the model is asked about each image.

    Raises:
        UserError: images, labels or the model's answers are not as described.
    """
    return wide(Rays(eps=1.0, queries=queries).boundary_distances(model, images, labels))
