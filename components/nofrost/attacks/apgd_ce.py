"""Auto-PGD on cross-entropy."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from nofrost.attacks.apgd import Apgd
from nofrost.attacks.base import Followed
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.registry import register
from nofrost.registry import configurable


@register("apgd-ce")
@configurable
class ApgdCe(Apgd):
    """Auto-PGD that maximises cross-entropy (Croce & Hein 2020); the first attack of AutoAttack."""

    follows: ClassVar[Followed] = "cross-entropy"
    zero: ClassVar[float] = -math.inf

    def loss(self, logits: Tensor, goals: Tensor) -> Tensor:
        return error_log_odds(logits, goals)
