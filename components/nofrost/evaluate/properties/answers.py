"""Properties of a model's outputs and gradients at each image: decision margin, smoothness, gradient norm."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import Model
from nofrost.attacks.session import attack_session

ORDERS = {"l1": 1, "l2": 2}


def decision_margin(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return M(x) = p_y - max_{i != y} p_i of each image, float64 [N] in [-1, 1].

    p are the softmax probabilities and y is the true class: below 0 the image is misclassified. Larger is better.
    wang2022 §4.3 measures it, after Kim et al. 2021.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: clean images, floats [N, C, H, W] in [0, 1].
        labels: int64 [N].

    Raises:
        UserError: images, labels or the model's answers are not as described.
    """
    with attack_session(model, images, labels) as checked, torch.no_grad():
        probabilities = log_probabilities(checked(images)).exp()
    true = labels[:, None]
    others = probabilities.scatter(1, true, 0.0).amax(1)
    return probabilities.gather(1, true).squeeze(1) - others


def model_smoothness(model: Model, images: Tensor, adversarial: Tensor) -> Tensor:
    """Return D(x) = KL(p(x) || p(x*)) of each image in nats, float64 [N], at least 0 (wang2022 §4.3, after TRADES).

    p are the softmax probabilities. Smaller is smoother. wang2022 does not say which attack makes x*.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: x, floats [N, C, H, W] in [0, 1].
        adversarial: x*, of the same form.

    Raises:
        UserError: images or the model's answers are not as described.
    """
    with attack_session(model, images) as checked, torch.no_grad():
        clean = log_probabilities(checked(images))
    with attack_session(model, adversarial) as checked, torch.no_grad():
        attacked = log_probabilities(checked(adversarial))
    probabilities = clean.exp()
    # A class without probability adds nothing, also where the model rules it out on both sides.
    terms = torch.where(probabilities > 0, probabilities * (clean - attacked), 0.0)
    return terms.sum(1).clamp(min=0)


def gradient_norm(model: Model, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return the norm of the cross-entropy's gradient at each image, float64 [N], at least 0.

    In nats per pixel value of [0, 1]. To first order an l-infinity change of size eps raises the loss by eps times the
    l1 norm, an l2 change by eps times the l2 norm (Simon-Gabriel et al. 2019; the loss growth that galloway2019 §5
    relates to the input dimension).

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
    slope = to_float64(log_odds).sigmoid()
    norms: Tensor = slope * vector_norm(to_float64(gradient).flatten(1), ord=ORDERS[norm], dim=1)
    return norms


def log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the softmax of `logits` [N, C], in float64 where the device has it.

    A probability of float32 is exactly 1 from a margin of about 17 between logits, which would make its distance to 1,
    and a divergence, vanish.
    """
    return to_float64(logits).log_softmax(1)


def to_float64(values: Tensor) -> Tensor:
    """Return `values` in float64, or in float32 on Apple's devices, which have none."""
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)
