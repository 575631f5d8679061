"""Sweeps of a study: axes of values that its recipes are multiplied by, and the place of each recipe on them.

A study file has ``sweep:``, axes by name. The study spelled out has the recipes of all places instead, and under
``places`` where each of them lies.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from nofrost.config.base import Name, Schema, Settings, first_duplicate, merge, nested
from nofrost.config.recipe import Recipe
from nofrost.config.validation import check_key, sentence
from nofrost.errors import UserError, shortened, unknown

_EXAMPLE = "write such as batch: {key: schedule.batch_size, values: [16, 64]}"


def _is_label(value: float | str) -> float | str:
    if isinstance(value, str) and not re.fullmatch(r"[!-~]([ -~]{,38}[!-~])?", value):
        raise ValueError(f"{shortened(value)} cannot stand on an axis: write at most 40 characters of ASCII")
    return value


Coordinate = Annotated[int | float | str, AfterValidator(_is_label)]
"""Where something lies on an axis: a number, or one of several names in the order of the axis."""


class Place(Settings):
    """The place of a recipe in a sweep: the `row` that it was made from, and where `at` on each axis."""

    row: Name
    at: dict[Name, Coordinate] = Field(min_length=1)


class SweepAxis(Schema):
    """An axis of a sweep.

    Attributes:
        key: of recipes, such as ``schedule.batch_size``; null: each value is a mapping of such keys to values.
        values: a list, or a mapping of labels to values, of which a label is what the axis shows.
        recipes: those that are swept along this axis; empty: all.
    """

    key: str | None = None
    values: dict[str, Any] = Field(min_length=1)
    recipes: tuple[Name, ...] = ()

    @field_validator("values", mode="before")
    @classmethod
    def _a_list_labels_itself(cls, values: Any) -> Any:
        if not isinstance(values, list | dict) or not values:
            raise ValueError(
                f"{shortened(values)} names no value: write a list, such as [16, 64], or map labels to values, or "
                "leave the axis out"
            )
        if isinstance(values, dict):
            return values
        for value in values:
            if not isinstance(value, int | float | str):
                raise ValueError(f"{shortened(value)} has no label: map labels to values, such as {{a: ..., b: ...}}")
        labels = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        if (twice := first_duplicate(labels)) is not None:
            raise ValueError(f"{shortened(twice)} stands twice: name each value once")
        return dict(zip(labels, values, strict=True))

    @model_validator(mode="after")
    def _values_are_settings(self) -> SweepAxis:
        for label, value in self.values.items():
            _is_label(label)
            if self.key is None and not (isinstance(value, Mapping) and value):
                raise ValueError(
                    f"key is missing: name what of a recipe it sets, or map {shortened(label)} to keys and values"
                )
        if (twice := first_duplicate(map(coordinate, self.values))) is not None:
            raise ValueError(f"values has {shortened(twice)} twice: name each value once")
        return self

    def settings(self, label: str) -> dict[str, Any]:
        """Return what the recipes at `label` set, by dotted key."""
        return dict(self.values[label]) if self.key is None else {self.key: self.values[label]}

    def is_of(self, recipe: str) -> bool:
        """Return whether the recipe is swept along this axis."""
        return not self.recipes or recipe in self.recipes


def coordinate(label: str) -> float | str:
    """Return the number that a label is, or the label."""
    if re.fullmatch(r"-?(0|[1-9]\d*)", label):
        return int(label)
    return float(label) if re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", label) else label


def place_name(row: str, labels: Mapping[str, object]) -> str:
    """Return the name of the recipe made from `row` at these labels by axis, such as ``bn-depth-5-batch-16``."""
    return "-".join([row, *(f"{axis}-{re.sub('[^A-Za-z0-9_-]+', '-', str(at))}" for axis, at in labels.items())])


def axes_over(base: Any, changes: Any) -> Any:
    """Return the axes of a study with `changes` on top, key by key of an axis; null takes away an axis of the base."""
    if not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    laid = {
        name: {**base[name], **axis} if isinstance(axis, Mapping) and isinstance(base.get(name), Mapping) else axis
        for name, axis in changes.items()
    }
    return {name: axis for name, axis in {**base, **laid}.items() if axis is not None or name not in base}


def swept(
    recipes: Mapping[str, Mapping[str, Any]], sweep: Any, origin: str, most: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recipes at every place of a sweep, and the place of each that has one, in JSON form.

    Args:
        recipes: of the study by name, with all keys that they set.
        sweep: axes by name, as the file has them.
        origin: the file, for errors.
        most: so many recipes at most.

    Raises:
        UserError: an axis is not of this form, names a key or recipe that is not there, or the recipes are too many.
    """
    axes = _axes(sweep, recipes, f"{origin}: sweep")
    along = {name: {axis: each for axis, each in axes.items() if each.is_of(name)} for name in recipes}
    total = sum(_places(each) for each in along.values())
    if total > most:
        raise UserError(f"{origin}: sweep makes {total:,} recipes: name fewer values, at most {most} in one study")
    found: dict[str, Any] = {}
    places: dict[str, Any] = {}
    for row, recipe in recipes.items():
        for name, labels in _names(row, along[row]):
            if name in found:
                raise UserError(f"{origin}: sweep: two recipes are called {name}: give one of them another name")
            found[name] = recipe
            for axis, label in labels.items():
                settings = along[row][axis].settings(label)
                _check_settings(settings, recipe, row, f"{origin}: sweep.{axis}")
                found[name] = merge(found[name], nested(settings))
            if labels:
                at = {axis: coordinate(label) for axis, label in labels.items()}
                places[name] = {"row": row, "at": at}
    return found, places


def names_at_places(names: Iterable[str], places: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the names of recipes, with those at all of its places for a row that is swept."""
    of_row: dict[str, list[str]] = {}
    for name, place in places.items():
        of_row.setdefault(place["row"], []).append(name)
    return [each for name in names for each in (of_row.get(name, [name]) if isinstance(name, str) else [name])]


def _axes(sweep: Any, recipes: Mapping[str, Any], where: str) -> dict[str, SweepAxis]:
    if not isinstance(sweep, Mapping) or not sweep:
        raise UserError(f"{where}: {shortened(sweep)} is no mapping of axes: {_EXAMPLE}")
    axes = {}
    for name, axis in sweep.items():
        if not isinstance(axis, Mapping):
            raise UserError(f"{where}.{name}: {shortened(axis)} is no axis: {_EXAMPLE}")
        try:
            Place.model_validate({"row": "row", "at": {name: 0}})
            axes[name] = SweepAxis.model_validate(axis)
        except ValidationError as error:
            schema = Place if error.title == "Place" else SweepAxis
            raise UserError(sentence(error, schema, f"{where}.{name}")) from None
        for recipe in axes[name].recipes:
            if recipe not in recipes:
                raise unknown(f"recipe in {where}.{name}.recipes:", recipe, recipes)
    return axes


def _places(axes: Mapping[str, SweepAxis]) -> int:
    places = 1
    for axis in axes.values():
        places *= len(axis.values)
    return places


def _names(row: str, axes: Mapping[str, SweepAxis]) -> Iterator[tuple[str, dict[str, str]]]:
    for labels in itertools.product(*(axis.values for axis in axes.values())):
        by_axis = dict(zip(axes, labels, strict=True))
        yield place_name(row, by_axis), by_axis


def _check_settings(settings: Mapping[str, Any], recipe: Mapping[str, Any], row: str, where: str) -> None:
    """Check that every key is one of recipes, and a phase one of this recipe: another one would be trained besides.

    Raises:
        UserError: one is not.
    """
    for key in settings:
        names: Sequence[str] = key.split(".")
        check_key(names, Recipe, where)
        phases = recipe.get("phases") or {}
        if names[0] == "phases" and len(names) > 1 and names[1] not in phases:
            raise unknown(f"phase of recipe {row} in {where}: {key}:", names[1], phases)
