"""Budgets are exact fractions that keep the form they were written in."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nofrost.config import PixelFraction
from nofrost.config.base import Schema

numerators = st.integers(0, 10**6)
denominators = st.integers(1, 10**6)
spaces = st.sampled_from(["", " ", "  ", "\t"])
decimals = st.decimals(min_value=0, max_value=1000, allow_nan=False, allow_infinity=False, places=6)


class Ball(Schema):
    eps: PixelFraction
    step: PixelFraction | None = None


@settings(deadline=None)
@given(numerators, denominators)
def test_a_fraction_keeps_its_text_and_its_exact_value(numerator: int, denominator: int) -> None:
    fraction = PixelFraction(f"{numerator}/{denominator}")
    assert str(fraction) == f"{numerator}/{denominator}"
    assert fraction.value == Fraction(numerator, denominator)
    assert float(fraction) == numerator / denominator


@settings(deadline=None)
@given(decimals)
def test_a_decimal_is_read_as_the_number_that_is_written_not_as_its_nearest_float(number: Decimal) -> None:
    assert PixelFraction(str(number)).value == Fraction(number)


@settings(deadline=None)
@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_a_float_survives_the_way_there_and_back(number: float) -> None:
    assert float(PixelFraction(number)) == number


@settings(deadline=None)
@given(numerators, denominators, spaces, spaces, spaces, spaces)
def test_spaces_around_the_parts_do_not_matter(
    numerator: int, denominator: int, first: str, second: str, third: str, fourth: str
) -> None:
    spaced = f"{first}{numerator}{second}/{third}{denominator}{fourth}"
    assert PixelFraction(spaced).text == f"{numerator}/{denominator}"


@settings(deadline=None)
@given(numerators, denominators)
def test_a_fraction_comes_back_from_yaml_as_it_was_written(numerator: int, denominator: int) -> None:
    ball = Ball(eps=PixelFraction(f"{numerator}/{denominator}"))
    again = Ball.model_validate(yaml.safe_load(yaml.safe_dump(ball.as_json())))
    assert again == ball
    assert again.eps.text == ball.eps.text
    assert again.step is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("eps: 8/255", Fraction(8, 255)),
        ("eps: 0", Fraction(0)),
        ("eps: 1", Fraction(1)),
        ("eps: 0.3", Fraction(3, 10)),
        ("eps: 1e-3", Fraction(1, 1000)),
        ("eps: '8 / 255'", Fraction(8, 255)),
    ],
)
def test_every_way_of_writing_a_budget_in_yaml_is_exact(written: str, value: Fraction) -> None:
    assert Ball.model_validate(yaml.safe_load(written)).eps.value == value


def test_a_fraction_object_of_python_is_taken_as_it_is() -> None:
    assert PixelFraction(Fraction(8, 255)).text == "8/255"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("8/0", "divides by zero"),
        ("0/0", "divides by zero"),
        ("-1/255", "negative"),
        (-0.5, "negative"),
        ("nan", "not a fraction"),
        (float("nan"), "not a fraction"),
        ("inf", "not a fraction"),
        (float("inf"), "not a fraction"),
        ("", "not a fraction"),
        ("eight", "not a fraction"),
        ("8/255/2", "not a fraction"),
        ("8//255", "not a fraction"),
        ("1 0", "not a fraction"),
        ("0. 3", "not a fraction"),
        ("1/2.5", "not a fraction"),
        ("1e-99999999", "not a fraction"),
        ("1e99999999", "not a fraction"),
        (True, "not a fraction"),
        (False, "not a fraction"),
        (None, "not a fraction"),
        ([8, 255], "not a fraction"),
        ({"eps": 8}, "not a fraction"),
    ],
)
def test_an_invalid_budget_is_refused_in_one_sentence(wrong: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Ball(eps=wrong)
    message = caught.value.errors()[0]["msg"]
    assert words in message
    assert "such as 8/255" in message
    assert "\n" not in message


@pytest.mark.parametrize("wrong", ["8/0", "-1", "nan", True])
def test_the_constructor_refuses_the_same_as_the_schema(wrong: Any) -> None:
    with pytest.raises(ValueError, match="such as 8/255"):
        PixelFraction(wrong)


def test_equal_values_are_equal_and_hash_alike_however_they_are_written() -> None:
    assert PixelFraction("16/510") == PixelFraction("8/255") != PixelFraction("9/255")
    assert len({PixelFraction("1/2"), PixelFraction("0.5"), PixelFraction("2/4")}) == 1
    assert PixelFraction("1/2") != Fraction(1, 2)


def test_a_fraction_can_be_copied_and_sent_to_another_process() -> None:
    fraction = PixelFraction("8/255")
    for twin in (copy.deepcopy(fraction), pickle.loads(pickle.dumps(fraction))):  # noqa: S301
        assert twin == fraction
        assert twin.text == "8/255"
    assert repr(fraction) == "PixelFraction('8/255')"
