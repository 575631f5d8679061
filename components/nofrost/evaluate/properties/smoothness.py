"""Model smoothness."""

from __future__ import annotations

import torch
from torch import Tensor

from nofrost.attacks.model import Model, attack_session
from nofrost.evaluate.properties.precision import log_probabilities


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
    # a class without probability adds nothing, also where the model rules it out on both sides
    terms = torch.where(probabilities > 0, probabilities * (clean - attacked), 0.0)
    return terms.sum(1).clamp(min=0)
