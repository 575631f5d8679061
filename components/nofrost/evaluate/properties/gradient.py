"""Size of the loss' slope at an image."""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm

from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import Model, attack_session
from nofrost.evaluate.properties.precision import wide

ORDERS = {"l1": 1, "l2": 2}


def gradient_norm(model: Model, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return the norm of the cross-entropy's gradient at each image, float64 [N], at least 0.

    In nats per pixel value of [0, 1]. To first order an l-infinity change of size eps raises the loss by eps times the
    l1 norm, an l2 change by eps times the l2 norm (Simon-Gabriel et al. 2019; the loss growth that galloway2019 §4 relates to
    the input dimension).

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N].
        norm: ``l1`` or ``l2``.

    Raises:
        UserError: images, labels or the model's answers are not as described, or its logits have no gradient.
    """
    with attack_session(model, images, labels) as checked:
        log_odds, _, gradient = checked.loss_and_grad(images, labels, error_log_odds)
    # Cross-entropy is softplus of these log-odds. Its own gradient would be exactly zero for confident answers.
    slope = wide(log_odds).sigmoid()
    norms: Tensor = slope * vector_norm(wide(gradient).flatten(1), ord=ORDERS[norm], dim=1)
    return norms
