"""Decision margin."""

from __future__ import annotations

import torch
from torch import Tensor

from nofrost.attacks.model import Model, attack_session
from nofrost.evaluate.properties.precision import log_probabilities


def decision_margin(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return M(x) = p_y - max_{i != y} p_i of each image, float64 [N] in [-1, 1] (wang2022 §4.3, after Kim et al. 2021).

    p are the softmax probabilities and y is the true class: below 0 the image is misclassified. Larger is better.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: clean images, floats [N, C, H, W] in [0, 1].
        labels: int64 [N].

    Raises:
        UserError: images, labels or the model's answers are not as described.
    """
    with attack_session(model, images, labels) as checked, torch.no_grad():
        probabilities = log_probabilities(checked(images)).exp()
    chosen = labels[:, None]
    others = probabilities.scatter(1, chosen, 0.0).amax(1)
    return probabilities.gather(1, chosen).squeeze(1) - others
