"""Properties of the decision boundary: its thickness, and the distance to it that a black-box attack finds."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from nofrost.attacks.gradient import Pgd
from nofrost.attacks.losses import error_log_odds, random_wrong
from nofrost.attacks.model import CheckedModel, Model, model_std
from nofrost.attacks.norms import Ball, L2Ball
from nofrost.attacks.random import Noise
from nofrost.attacks.rays import Rays
from nofrost.attacks.session import attack_session
from nofrost.config.attack import Threat
from nofrost.config.properties import BoundaryThickness
from nofrost.evaluate.properties.answers import log_probabilities, to_float64


def boundary_distance(model: Model, images: Tensor, labels: Tensor, *, queries: int = 10_000) -> Tensor:
    """Return the l-infinity distance of each image to the nearest misclassified one that RayS finds, float64 [N].

    In pixels of [0, 1]: 0 where the image itself is misclassified, infinite where none was found. An upper bound on the
    distance to the decision boundary; Chen & Gu 2020 report its mean as ADBD. Larger is better.

    Args:
        model: maps images to logits [N, C], its input normaliser inside.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N].
        queries: how often the model is called for each image.

    Raises:
        UserError: images, labels or the model's answers are not as described.
    """
    return to_float64(Rays(eps=1.0, queries=queries).boundary_distances(model, images, labels))


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
        std: float [C], what the model's normaliser divides pixels by, for the normalised space. None: that of the
            model, which must then be one of this package.
        threat: the ball that is searched where ``spec.eps`` is None.
        indices: int64 [N], which images of their dataset they are; with the seed they pick the wrong classes. Default:
            0 to N - 1.
        seed: of the wrong classes.

    Raises:
        UserError: images, labels or the model's answers are not as described, its logits have no gradient, or `std` is
            missing.
    """
    spec, threat = spec or BoundaryThickness(), threat or Threat()
    scale = _scale(model, spec, std, images.shape[1])
    if indices is None:
        indices = torch.arange(len(images), device=images.device)
    with attack_session(model, images, labels) as checked:
        targets = random_wrong(labels, checked.classes(images), Noise.of(seed, indices))
        ends = _ends(checked, images, targets, spec, scale, threat)
        share = _share_between(checked, images, ends, targets, spec)
    return share * to_float64(normalised_length(ends - images, scale))


def _scale(model: Model, spec: BoundaryThickness, std: Tensor | None, channels: int) -> Tensor:
    """Return what changes of a pixel are divided by before their length is taken, [C]."""
    if spec.space == "pixel":
        return torch.ones(channels)
    return model_std(model) if std is None else std.flatten()


def _ends(
    model: CheckedModel, images: Tensor, targets: Tensor, spec: BoundaryThickness, scale: Tensor, threat: Threat
) -> Tensor:
    step_size = None if spec.step_size is None else float(spec.step_size)
    if spec.eps is not None:
        eps = float(spec.eps)
        ball = NormalisedL2Ball(images, eps, scale)
        return search_towards(model, images, targets, ball, step_size or eps / 5, spec.steps)
    if not threat.eps.value:
        return images
    rule = Pgd(norm=threat.norm, eps=float(threat.eps), steps=spec.steps)
    return search_towards(model, images, targets, rule.ball(images), step_size or rule.length(), spec.steps)


@torch.no_grad()
def _share_between(
    model: CheckedModel, images: Tensor, ends: Tensor, targets: Tensor, spec: BoundaryThickness
) -> Tensor:
    """Return the share of the segment's points between the level sets, [N]."""
    first = model(images).argmax(1, keepdim=True)
    second = targets[:, None] if spec.against == "target" else model(ends).argmax(1, keepdim=True)
    inside = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for position in torch.linspace(0, 1, spec.points).tolist():
        probabilities = log_probabilities(model(torch.lerp(ends, images, position))).exp()
        lead = (probabilities.gather(1, first) - probabilities.gather(1, second)).squeeze(1)
        inside += (spec.alpha < lead) & (lead < spec.beta)
    return to_float64(inside) / spec.points


class NormalisedL2Ball:
    """All images in [0, 1] that differ from `centre` by a Euclidean length of at most `eps` after division by `std`.

    Has the methods of a :class:`nofrost.attacks.norms.Ball` that :func:`search_towards` needs.

    Args:
        centre: [N, C, H, W].
        eps: radius in units of the divided pixels.
        std: [C], by channel; ones for a ball in pixels.
    """

    def __init__(self, centre: Tensor, eps: float, std: Tensor) -> None:
        self._centre, self._eps = centre, eps
        self._std = std.to(centre)[:, None, None]

    def project(self, points: Tensor) -> Tensor:
        change = points - self._centre
        share = (self._eps / normalised_length(change, self._std.flatten())).clamp(max=1)
        return (self._centre + share.to(points.dtype)[:, None, None, None] * change).clamp_(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        return self._std * L2Ball.direction(gradient * self._std)


def normalised_length(change: Tensor, std: Tensor) -> Tensor:
    """Return the Euclidean length [N] of `change` [N, C, H, W] after division by `std` [C]."""
    lengths: Tensor = vector_norm((change / std.to(change)[:, None, None]).flatten(1), dim=1)
    return lengths


def search_towards(
    model: CheckedModel, images: Tensor, targets: Tensor, ball: Ball | NormalisedL2Ball, step_size: float, steps: int
) -> Tensor:
    """Return the end points of `steps` steps of `step_size` that descend the cross-entropy of the classes `targets`
    [N], starting from the images themselves as in Yang et al. 2020."""
    points = images
    for _ in range(steps):
        _, _, gradient = model.loss_and_grad(points, targets, error_log_odds)
        points = ball.project(points - step_size * ball.direction(gradient))
    return points
