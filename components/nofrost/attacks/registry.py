"""The attacks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from nofrost.attacks.base import Attack
from nofrost.attacks.settings import Pixels
from nofrost.errors import unknown

_ATTACKS: dict[str, type[Attack]] = {}
_AttackClass = TypeVar("_AttackClass", bound=type[Attack])


def register(name: str) -> Callable[[_AttackClass], _AttackClass]:
    """Make a frozen dataclass of attacks known under `name`; its fields are the settings a user may give."""

    def enter(attack: _AttackClass) -> _AttackClass:
        if name in _ATTACKS:
            raise ValueError(f"attack {name!r} is registered twice")
        attack.name = name
        _ATTACKS[name] = attack
        return attack

    return enter


def attack_names() -> list[str]:
    """Return the names that `create_attack` knows, sorted."""
    return sorted(_ATTACKS)


def attack_settings(name: str) -> dict[str, Any]:
    """Return the settings of the attack called `name` that have a default, with that default.

    Raises:
        UserError: there is no such attack.
    """
    if name not in _ATTACKS:
        raise unknown("attack", name, _ATTACKS)
    return {field.name: field.default for field in fields(_ATTACKS[name]) if field.default is not MISSING}


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
    if name not in _ATTACKS:
        raise unknown("attack", name, _ATTACKS)
    kind = _ATTACKS[name]
    allowed = {field.name for field in fields(kind)}
    for setting in settings:
        if setting not in allowed:
            raise unknown(f"setting of attack {name!r}", setting, allowed)
    given: dict[str, Any] = {"eps": eps, "norm": norm, "seed": seed, **settings}
    return kind(**given)
