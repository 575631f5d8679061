"""What wang2022 calls AA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import PositiveInt

from nofrost.attacks.autoattack import create_member
from nofrost.attacks.base import Access, Attack
from nofrost.attacks.registry import register
from nofrost.attacks.sequence import Sequence
from nofrost.registry import configurable


@register("autoattack-paper")
@configurable
class AutoAttackPaper(Sequence):
    """The worst case over APGD-CE and APGD-DLR: the "AA" of wang2022, section 4.1, "fast version". It is not AutoAttack.

    wang2022 gives the steps of its white-box attacks as 20 and does not say whether "AA" has as many: we take it to. On
    models with 2 classes the plain margin takes the place of the difference-of-logits ratio.

    Args:
        steps: of both attacks, at least 1.
    """

    access: ClassVar[Access] = "gradient"
    min_classes: ClassVar[int] = 3

    steps: PositiveInt = 20

    def members(self, classes: int) -> Iterator[Attack]:
        for name in ("apgd-ce", "apgd-dlr"):
            yield create_member(name, classes, norm=self.norm, eps=self.eps, seed=self.seed, steps=self.steps)
