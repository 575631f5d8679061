"""Budgets and step sizes as exact fractions of the [0, 1] pixel range, such as ``8/255``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from nofrost.errors import shortened

# Exact powers of ten of this size take minutes to compute, and no budget needs them.
_FAR_EXPONENT = re.compile(r"[eE][+-]?[\d_]{4,}")


_LONGEST = 100  # characters; nor does a budget need so many digits
_MOST = 1_000_000  # images of a million pixels lie at most 1,732 apart
_EXAMPLE = "write one such as 8/255"


class PixelFraction:
    """An exact, non-negative fraction of the pixel range that keeps the form it was written in.

    Args:
        text: ``"8/255"``, ``"0.3"``, ``0`` or any number; at least 0.

    Raises:
        ValueError: it is not a finite number, its denominator is zero, or it is negative.
    """

    __slots__ = ("text", "value")

    def __init__(self, text: str | float | Fraction) -> None:
        self.text = re.sub(r"\s*/\s*", "/", str(text).strip())
        try:
            if len(self.text) > _LONGEST or _FAR_EXPONENT.search(self.text):
                raise ValueError
            self.value = Fraction(self.text)
            if self.value > _MOST:
                raise OverflowError
        except ZeroDivisionError:
            raise ValueError(f"{shortened(self.text)} divides by zero: write a fraction such as 8/255") from None
        except OverflowError:
            raise ValueError(f"{shortened(self.text)} is more than any distance of images: {_EXAMPLE}") from None
        except ValueError:
            raise ValueError(f"{shortened(self.text)} is not a fraction: write one such as 8/255 or 0.03") from None
        if self.value < 0:
            raise ValueError(f"{shortened(self.text)} is negative: a budget or step is at least 0, such as 8/255")

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"PixelFraction({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PixelFraction) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def _validate(cls, value: Any) -> PixelFraction:
        if isinstance(value, PixelFraction):
            return value
        if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
            raise ValueError(f"{shortened(value)} is not a fraction: write one such as 8/255 or 0.03")
        return cls(value)


def _as_pixels(value: object) -> float:
    # most budgets in training are floats: they need no exact fraction on the way
    if isinstance(value, float) and 0 < value <= _MOST:
        return float(value)
    if value is None or isinstance(value, bool):
        raise ValueError(f"{shortened(value)} is not a fraction: write one such as 8/255 or 0.03")
    return float(value if isinstance(value, PixelFraction) else PixelFraction(str(value)))


def _is_a_step(value: float) -> float:
    if value == 0:
        raise ValueError("0 is no step: write more than 0, such as 1/255")
    return value


Pixels = Annotated[float, BeforeValidator(_as_pixels)]
"""A size in pixels of [0, 1], at least 0, as a float: written as ``8/255``, ``"8/255"`` or `PixelFraction`."""

PositivePixels = Annotated[Pixels, AfterValidator(_is_a_step)]
"""`Pixels` of more than 0."""
