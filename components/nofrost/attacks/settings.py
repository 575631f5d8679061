"""Checks of an attack's settings: each returns the value as the attack uses it or raises one clear sentence."""

from __future__ import annotations

import math
from collections.abc import Collection
from fractions import Fraction

from nofrost.config.fraction import PixelFraction
from nofrost.errors import UserError, unknown

Pixels = float | int | str | Fraction | PixelFraction
"""A budget or step in pixels of [0, 1]: ``8/255``, ``"8/255"``, ``Fraction(8, 255)`` or ``PixelFraction("8/255")``."""


def pixels(setting: str, value: object) -> float:
    """Return `value` (see `Pixels`), a number of at least 0, as a float.

    Raises:
        UserError: it is not a number, negative, or divides by zero.
    """
    if isinstance(value, bool) or value is None:
        raise UserError(f"{setting} is {value!r}: write a fraction of the pixel range such as 8/255")
    try:
        return float(value if isinstance(value, PixelFraction) else PixelFraction(str(value)))
    except ValueError as error:
        raise UserError(f"{setting}: {error}") from None
    except OverflowError:
        raise UserError(f"{setting} is {value}: write a fraction of the pixel range such as 8/255") from None


def positive_pixels(setting: str, value: object) -> float:
    """Return `value` (see `Pixels`), more than 0, as a float.

    Raises:
        UserError: it is not a number, not positive, or divides by zero.
    """
    size = pixels(setting, value)
    if size == 0:
        raise UserError(f"{setting} is {value}: a step must be more than 0, such as 1/255")
    return size


def whole(setting: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Return `value`, a whole number from `minimum` to `maximum`.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UserError(f"{setting} is {value!r}: it must be a whole number of at least {minimum}")
    if maximum is not None and value > maximum:
        raise UserError(f"{setting} is {value!r}: it must be at most {maximum}")
    return value


def share(setting: str, value: object) -> float:
    """Return `value`, a number in [0, 1], as a float.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{setting} is {value!r}: it must be a number from 0 to 1")
    return float(value)


def number(setting: str, value: object, minimum: float) -> float:
    """Return `value`, a finite number of at least `minimum`, as a float.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value < math.inf:
        raise UserError(f"{setting} is {value!r}: it must be a number of at least {minimum:g}")
    return float(value)


def flag(setting: str, value: object) -> bool:
    """Return `value`, which must be true or false.

    Raises:
        UserError: it is not.
    """
    if not isinstance(value, bool):
        raise UserError(f"{setting} is {value!r}: it must be true or false")
    return value


def choice(setting: str, value: object, allowed: Collection[str]) -> str:
    """Return `value`, one of the words in `allowed`.

    Raises:
        UserError: it is not; the message names the words.
    """
    if not isinstance(value, str) or value not in allowed:
        raise unknown(setting, value, allowed)
    return value
