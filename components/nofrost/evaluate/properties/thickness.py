"""Boundary thickness."""

from __future__ import annotations

import torch
from torch import Tensor

from nofrost import models
from nofrost.attacks.gradient import Pgd
from nofrost.attacks.losses import random_wrong
from nofrost.attacks.model import CheckedModel, Model, attack_session, without_wrapper
from nofrost.attacks.random import Noise
from nofrost.config.attack import Threat
from nofrost.config.properties import BoundaryThickness
from nofrost.errors import UserError
from nofrost.evaluate.properties.precision import log_probabilities, wide
from nofrost.evaluate.properties.targeted import NormalisedL2Ball, normalised_length, search_towards


def boundary_thickness(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    spec: BoundaryThickness | None = None,
    std: Tensor | None = None,
    threat: Threat | None = None,
    indices: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Return T(x) of each image, float64 [N], at least 0 (Yang et al. 2020; wang2022 §4.3).

    T(x) is the length of that part of the segment from x to x* on which alpha < p_i - p_j < beta, with softmax
    probabilities p, i the class predicted at x, and j as ``spec.against`` says. x* is the end of a targeted search
    towards a random wrong class. Larger is better. The part is counted on ``spec.points`` points, both ends among them.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N].
        spec: space of lengths, search, level sets and points; by default those of Yang et al.'s code.
        std: float [C], what the model's normaliser divides pixels by, for the normalised space. None: ask the model,
            which must then be one of this package.
        threat: the ball that is searched where ``spec.eps`` is None.
        indices: int64 [N], the images' places in their dataset, which pick the wrong classes. Default: 0 to N - 1.
        seed: the other thing that picks them.

    Raises:
        UserError: images, labels or the model's answers are not as described, its logits have no gradient, or `std` is
            missing.
    """
    spec, threat = spec or BoundaryThickness(), threat or Threat()
    scale = _scale(model, spec, std, images.shape[1])
    places = torch.arange(len(images), device=images.device) if indices is None else indices
    with attack_session(model, images, labels) as checked:
        targets = random_wrong(labels, checked.classes(images), Noise.of(seed, places))
        ends = _ends(checked, images, targets, spec, scale, threat)
        share = _share_between(checked, images, ends, targets, spec)
    return share * wide(normalised_length(ends - images, scale))


def own_std(model: Model) -> Tensor:
    """Return what the normaliser inside a model of this package divides pixels by, [C].

    Raises:
        UserError: the model is another one.
    """
    network = without_wrapper(model)
    if not isinstance(network, models.Classifier):
        raise UserError(
            "the model does not say what it divides pixels by, which boundary thickness in the normalised space needs: "
            "give std, or write space: pixel"
        )
    return network.std.flatten()


def _scale(model: Model, spec: BoundaryThickness, std: Tensor | None, channels: int) -> Tensor:
    """Return what changes of a pixel are divided by before their length is taken, [C]."""
    if spec.space == "pixel":
        return torch.ones(channels)
    return own_std(model) if std is None else std.flatten()


def _ends(
    model: CheckedModel, images: Tensor, targets: Tensor, spec: BoundaryThickness, scale: Tensor, threat: Threat
) -> Tensor:
    given = None if spec.step_size is None else float(spec.step_size)
    if spec.eps is not None:
        eps = float(spec.eps)
        ball = NormalisedL2Ball(images, eps, scale)
        return search_towards(model, images, targets, ball, given or eps / 5, spec.steps)
    if not threat.eps.value:
        return images
    rule = Pgd(norm=threat.norm, eps=float(threat.eps), steps=spec.steps)
    return search_towards(model, images, targets, rule.ball(images), given or rule.length(), spec.steps)


@torch.no_grad()
def _share_between(
    model: CheckedModel, images: Tensor, ends: Tensor, targets: Tensor, spec: BoundaryThickness
) -> Tensor:
    """Return the share of the segment's points between the level sets, [N]; as many images at once as were given."""
    first = model(images).argmax(1, keepdim=True)
    second = targets[:, None] if spec.against == "target" else model(ends).argmax(1, keepdim=True)
    inside = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for place in torch.linspace(0, 1, spec.points).tolist():
        probabilities = log_probabilities(model(torch.lerp(ends, images, place))).exp()
        lead = (probabilities.gather(1, first) - probabilities.gather(1, second)).squeeze(1)
        inside += (spec.alpha < lead) & (lead < spec.beta)
    return wide(inside) / spec.points
