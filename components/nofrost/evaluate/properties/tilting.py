"""The tilting angle of linear classifiers of two classes (galloway2019 §3, after Tanay & Griffin 2016)."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.errors import UserError
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.sample import Sample, batches

LIVE_DEVIATION = 0.01  # of a live pixel, in the pixel range, over the training images
_READ_AT_ONCE = 256
_ROUNDING = 1e-4  # of the weight's length; a network that is not linear differs by far more


class Centroids(NamedTuple):
    """Of training images of two classes, [C, H, W] in float64: the mean of the second class less that of the first,
    and the deviation of each pixel over all of them."""

    difference: Tensor
    deviation: Tensor


def centroids(sample: Sample) -> Centroids:
    """Return the centroids of training images.

    Raises:
        UserError: they are not of two classes.
    """
    if sorted(set(sample.labels.tolist())) != [0, 1]:
        raise UserError("a tilting angle needs training images of two classes: leave tilting_angle out of the suite")
    shape = sample.read(np.zeros(1, dtype=np.int64)).shape[1:]
    sums, squares = torch.zeros(2, *shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for rows in batches(np.arange(len(sample)), _READ_AT_ONCE):
        images = sample.read(rows).double()
        sums.index_add_(0, torch.from_numpy(sample.labels[rows]), images)
        squares += images.square().sum(0)
    counts = torch.from_numpy(np.bincount(sample.labels))
    means = sums / counts[:, None, None, None]
    variance = squares / len(sample) - (sums.sum(0) / len(sample)).square()
    return Centroids(means[1] - means[0], variance.clamp(min=0).sqrt())


def linear_weight(model: EvaluatedModel, image: Tensor) -> Tensor:
    """Return the weight of each pixel in the second logit less the first, [C, H, W], in the coordinates of the images.

    It is the gradient of a linear classifier, with its batch norm and its input normaliser, which is the same at every
    image.

    Args:
        image: [1, C, H, W] on the device.

    Raises:
        UserError: it is not the same at two images, so that the model is not linear.
    """
    points = torch.cat([image, torch.full_like(image, 0.5)]).requires_grad_()
    logits = model.logits(points)
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), points)
    first: Tensor = gradient[0].double()
    second: Tensor = gradient[1].double()
    if float((first - second).norm()) > _ROUNDING * float(first.norm()):
        raise UserError(
            "a tilting angle is of a linear classifier, and the gradient of this model depends on the image: leave "
            "tilting_angle out of the suite, or evaluate a model such as logistic"
        )
    return first


def tilting_angles(engine: Engine, model: EvaluatedModel, of_training: Centroids) -> dict[str, NDArray[np.float64]]:
    """Return the angle to the nearest-centroid classifier in degrees, [1], by the name of its property.

    ``tilting_angle`` is over all pixels, ``tilting_angle_live`` over those that deviate by at least `LIVE_DEVIATION`:
    of the others a batch norm makes as much as of these, so that whatever stands in their weights tilts the boundary.
    Call inside ``engine.ready``.

    Raises:
        UserError: the model is not linear, or all of its weights are zero.
    """
    image, _, _ = engine.sample.batch(np.zeros(1, dtype=np.int64), engine.device)
    weight, live = linear_weight(model, image).cpu(), of_training.deviation >= LIVE_DEVIATION
    angles = {
        "tilting_angle": tilting_angle(weight, of_training.difference),
        "tilting_angle_live": tilting_angle(weight[live], of_training.difference[live]),
    }
    return {name: np.array([angle]) for name, angle in angles.items()}


def tilting_angle(weight: Tensor, reference: Tensor) -> float:
    """Return the angle between two linear decision boundaries in degrees, from 0 to 90 (Tanay & Griffin 2016).

    galloway2019 §3 takes it between a linear model and the nearest-centroid classifier, whose weights are the
    difference of the two class means. Weights behind a batch norm belong to its output: divide them by
    sqrt(variance + eps) first, as :func:`linear_weight` does.

    Args:
        weight: weights of a classifier of two classes, of any shape; their sign does not matter.
        reference: weights of the other one, as many.

    Raises:
        UserError: there are not as many weights in both, or all weights of one are zero.
    """
    first, second = weight.detach().flatten().cpu().double(), reference.detach().flatten().cpu().double()
    if first.shape != second.shape:
        raise UserError(f"a tilting angle needs as many weights in both, got {len(first)} and {len(second)}")
    lengths = float(first.norm()), float(second.norm())
    if not all(0 < length < math.inf for length in lengths):
        raise UserError("a tilting angle needs weights that are finite and not all zero")
    first, second = first / lengths[0], second / lengths[1]
    second = torch.copysign(torch.ones(()), first @ second) * second
    # Exact for small angles too, where the arc cosine is not.
    return math.degrees(2 * math.atan2(float((first - second).norm()), float((first + second).norm())))
