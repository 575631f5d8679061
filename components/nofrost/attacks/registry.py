"""The attacks by name."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from nofrost.attacks.base import Attack
from nofrost.config import AttackSpec, PixelFraction
from nofrost.config.base import Schema
from nofrost.registry import Registry, check_settings

# Threat and seed stand beside an attack in recipes and suites; its other settings are checked with a budget of 0
ATTACKS: Registry[Attack] = Registry("attack", elsewhere={"norm": None, "eps": 0.0, "seed": None})
register = ATTACKS.register
attack_names = ATTACKS.names
attack_settings = ATTACKS.settings
attack_class = ATTACKS.get


def create_attack(
    name: str, *, eps: float | str | Fraction | PixelFraction, norm: str = "linf", seed: int = 0, **settings: Any
) -> Attack:
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


def check_attacks(config: Schema, origin: str, overrides: Sequence[str] = ()) -> None:
    """Check the name and settings of every attack in a configuration, wherever it stands there.

    Args:
        config: such as a suite.
        origin: its file, for the error.
        overrides: texts `key=value` on top of the file; the one that made the fault is named too.

    Raises:
        UserError: one is wrong; the sentence names file, key and the settings that the attack has.
    """
    check_settings(config, {AttackSpec: ATTACKS}, origin, overrides)
