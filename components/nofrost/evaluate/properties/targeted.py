"""Where a boundary is looked for: the end of a targeted search around each image."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.linalg import vector_norm

from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.norms import L2Ball


class Ball(Protocol):
    """Where the search may go, such as those of ``nofrost.attacks.norms``."""

    def project(self, points: Tensor) -> Tensor:
        """Return [N, C, H, W] `points` inside the ball and the pixel box."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the move of unit length that rises most along `gradient`."""


class NormalisedL2Ball:
    """All images in [0, 1] that differ from `centre` by a Euclidean length of at most `eps` after division by `std`.

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
    model: CheckedModel, images: Tensor, goals: Tensor, ball: Ball, step_size: float, steps: int
) -> Tensor:
    """Return where `steps` steps of `step_size` down the cross-entropy to the classes `goals` [N] lead.

    It begins at the images themselves, as in Yang et al. 2020.
    """
    points = images
    for _ in range(steps):
        _, _, gradient = model.loss_and_grad(points, goals, error_log_odds)
        points = ball.project(points - step_size * ball.direction(gradient))
    return points
