"""Select the configuration of one stage, from a study if there is one and otherwise from a separate file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from nofrost.config.base import Schema
from nofrost.config.loading import load_recipe, load_study, load_suite, overridden, validated
from nofrost.config.recipe import Recipe
from nofrost.config.study import AugmentationSpec, DatasetSpec
from nofrost.config.suite import Suite
from nofrost.config.test_sets import TestSets
from nofrost.errors import UserError, unknown

S = TypeVar("S", bound=Schema)


def dataset_of(study: str | None, overrides: Sequence[str] = ()) -> DatasetSpec:
    """Return the study's dataset, or the default one, with `overrides` such as ``limit=100`` on top.

    Raises:
        UserError: there is no such study, or a key or value is wrong.
    """
    spec = load_study(study).dataset if study else DatasetSpec()
    return _updated(spec, overrides, study or "the default dataset")


def further_test_sets(study: str | None, overrides: Sequence[str] = ()) -> TestSets:
    """Return the further test sets of the study's ood suite, or none, with `overrides` such as ``test_sets.a.limit=9``
    on top; raises like `dataset_of`."""
    spec = TestSets(test_sets=load_study(study).suites.ood.test_sets) if study else TestSets()
    return _updated(spec, overrides, f"{study}: suites.ood" if study else "the test sets")


def augmentation_of(study: str | None, overrides: Sequence[str] = ()) -> AugmentationSpec:
    """Return the study's augmentation, or the default one, with `overrides` on top; raises like `dataset_of`."""
    return _updated(
        load_study(study).augmentation if study else AugmentationSpec(), overrides, study or "the default augmentation"
    )


def recipe_of(study: str | None, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe called `name` in the study, or without a study the shipped one or the user's file."""
    if study is None:
        return load_recipe(name, overrides)
    recipes = load_study(study).recipes
    if name not in recipes:
        raise unknown(f"recipe of study {study}", name, recipes)
    return _updated(recipes[name], overrides, f"{study}: recipes.{name}")


def suite_of(study: str | None, name: str, overrides: Sequence[str] = ()) -> Suite:
    """Return the study's suite (`adversarial` or `ood`), or without a study the shipped one or the user's file."""
    if study is None:
        return load_suite(name, overrides)
    suites: dict[str, Suite] = dict(load_study(study).suites)
    if name not in suites:
        raise unknown(f"suite of study {study}", Path(name), suites)
    return _updated(suites[name], overrides, f"{study}: suites.{name}")


def parse_part(schema: type[S], text: str, origin: str, source: str = "`nofrost study show --json`") -> S:
    """Return the part of a study that JSON `text` holds (as :meth:`Schema.as_json` gives it).

    Args:
        origin: which part of the study it is, for the error.
        source: what gives such JSON, for the error.

    Raises:
        UserError: the text is not JSON, or a key or value is wrong.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"{origin} is not valid JSON ({error}): give it as {source} does") from None
    return validated(schema, values, origin)


def _updated(spec: S, overrides: Sequence[str], origin: str) -> S:
    return validated(type(spec), overridden(spec.as_json(), overrides), origin, overrides) if overrides else spec
