"""The attacks by name."""

from __future__ import annotations

from typing import Any

from nofrost.attacks.base import Attack
from nofrost.attacks.settings import Pixels
from nofrost.registry import Registry

ATTACKS: Registry[Attack] = Registry("attack")
register = ATTACKS.register
attack_names = ATTACKS.names
attack_settings = ATTACKS.settings


def create_attack(name: str, *, eps: Pixels, norm: str = "linf", seed: int = 0, **settings: Any) -> Attack:
    """Return the attack called `name`.

    Args:
        name: one of `attack_names`.
        eps: budget, the radius of the ball, in pixels of [0, 1]: a number, a text such as ``"8/255"``, a ``Fraction``
            or a ``PixelFraction``; for ``linf`` at most 1.
        norm: ``linf`` or ``l2``.
        seed: fixes every random choice, at least 0.
        settings: the attack's own settings, such as ``steps``.

    Raises:
        UserError: an unknown name, norm or setting (the message lists the known ones), or a value out of range.
    """
    return ATTACKS.create(name, eps=eps, norm=norm, seed=seed, **settings)
