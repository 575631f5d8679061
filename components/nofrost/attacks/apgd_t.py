"""Auto-PGD towards one wrong class after the other."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from nofrost.attacks.apgd import Apgd
from nofrost.attacks.base import Followed
from nofrost.attacks.classifier import Classifier
from nofrost.attacks.losses import targeted_dlr, targeted_margin
from nofrost.attacks.noise import Noise
from nofrost.attacks.registry import register
from nofrost.attacks.search import Found, in_turn
from nofrost.attacks.targets import likeliest_wrong
from nofrost.registry import configurable


@register("apgd-t")
@configurable
class ApgdT(Apgd):
    """Auto-PGD that maximises the targeted difference-of-logits ratio (Croce & Hein 2020, section 4.3).

    It needs at least 4 classes. An image counts as fooled when it is taken for any wrong class.

    Args:
        targets: how many wrong classes to aim at, at least 1, the likeliest of the clean image first; at most all.
        restarts: how many random starts for each of them.
    """

    follows: ClassVar[Followed] = "dlr"
    targeted: ClassVar[bool] = True
    min_classes: ClassVar[int] = 4

    targets: PositiveInt = 9

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return targeted_dlr(logits, goals)

    def run(self, model: Classifier, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        with torch.no_grad():
            targets = likeliest_wrong(model(images), labels, self.targets)
        places = [place for place in range(1, 1 + targets.shape[1]) for _ in range(self.restarts)]
        attempts = [partial(self._towards, model, place) for place in places]
        return in_turn(attempts, images, torch.cat([labels[:, None], targets], 1), noise, self.early_stop)

    def _towards(self, model: Classifier, place: int, images: Tensor, classes: Tensor, noise: Noise) -> Found:
        """Aim at the classes in one column of `classes` [N, 1 + targets]; the first holds the labels."""
        return self._attempt(model, images, classes[:, 0], noise, goals=classes[:, [0, place]])


@configurable
class ApgdTMargin(ApgdT):
    """The same on the plain margin to the target: what stands in for `ApgdT` where a model has fewer than 4 classes."""

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return targeted_margin(logits, goals)
