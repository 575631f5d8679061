"""Select the configuration of one stage, from a study if there is one and otherwise from a separate file."""

import json
from collections.abc import Iterable, Sequence
from typing import TypeVar

from nofrost.config.base import Schema
from nofrost.config.dataset import AugmentationSpec, DatasetSpec
from nofrost.config.loading import load_recipe, load_study, load_suite, overridden, validated
from nofrost.config.recipe import Recipe
from nofrost.config.study import Suites
from nofrost.config.suite import OodSuite, Suite
from nofrost.config.test_sets import TestSets
from nofrost.errors import UserError, shortened, unknown

S = TypeVar("S", bound=Schema)


def dataset_of(study: str | None, overrides: Sequence[str] = (), name: str = "") -> DatasetSpec:
    """Return the study's dataset, or the default one, with `overrides` such as ``limit=100`` on top.

    Args:
        name: of a further dataset of the study.

    Raises:
        UserError: there is no such study or dataset, or a key or value is wrong.
    """
    if study is None:
        return _updated(DatasetSpec(), overrides, "the default dataset")
    loaded = load_study(study)
    _check_dataset(study, name, loaded.datasets)
    return _updated(loaded.dataset_spec(name), overrides, f"{study}: datasets.{name}" if name else study)


def further_test_sets(study: str | None, suite: str | None = None, overrides: Sequence[str] = ()) -> TestSets:
    """Return the further test sets of an ood suite, or none without one, with `overrides` such as
    ``test_sets.a.limit=9`` on top; raises like `dataset_of`.

    Args:
        suite: as in :func:`suite_of`; None for the only ood suite of the study.
    """
    if study is None and suite is None:
        return _updated(TestSets(), overrides, "the test sets")
    if study is None:
        spec, origin = load_suite(str(suite)), str(suite)
    else:
        suites = load_study(study).suites
        key = _key_of_suite(study, suites, suite or "ood")
        spec, origin = suites.by_key[key], f"{study}: suites.{key.replace('/', '.')}"
    if not isinstance(spec, OodSuite):
        raise UserError(f"{origin} is an adversarial suite, which has no test sets: name an ood suite")
    return _updated(TestSets(test_sets=spec.test_sets), overrides, origin)


def augmentation_of(study: str | None, overrides: Sequence[str] = (), name: str = "") -> AugmentationSpec:
    """Return the study's augmentation, or the default one, with `overrides` on top; raises like `dataset_of`.

    Args:
        name: of a further dataset of the study, of which only the methods that its recipes train on are made.
    """
    if study is None:
        return _updated(AugmentationSpec(), overrides, "the default augmentation")
    loaded = load_study(study)
    _check_dataset(study, name, loaded.datasets)
    spec = loaded.augmentations[name] if name else loaded.augmentation
    return _updated(spec, overrides, f"{study}: augmentations.{name}" if name else study)


def _check_dataset(study: str, name: str, datasets: Iterable[str]) -> None:
    if name and name not in datasets:
        raise unknown(f"dataset of study {study}", name, datasets)


def recipe_of(study: str | None, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe called `name` in the study, or without a study the shipped one or the user's file."""
    if study is None:
        return load_recipe(name, overrides)
    recipes = load_study(study).recipes
    if name not in recipes:
        raise unknown(f"recipe of study {study}", name, recipes)
    return _updated(recipes[name], overrides, f"{study}: recipes.{name}")


def suite_of(study: str | None, name: str, overrides: Sequence[str] = ()) -> tuple[Suite, str]:
    """Return a suite, and where it stands for messages.

    Args:
        name: of a suite of the study: its kind and name, such as ``adversarial/quick``, or one of the two where that
            is enough. Without a study the name of a shipped suite, or the path of a file.
    """
    if study is None:
        return load_suite(name, overrides), name
    suites = load_study(study).suites
    key = _key_of_suite(study, suites, name)
    origin = f"{study}: suites.{key.replace('/', '.')}"
    return _updated(suites.by_key[key], overrides, origin), origin


def _key_of_suite(study: str, suites: Suites, name: str) -> str:
    """Return kind and name of the suite of a study that `name` means.

    Raises:
        UserError: it means none, or several.
    """
    if name in suites.by_key:
        return name
    found = [key for key in suites.by_key if key.endswith(f"/{name}")]
    found = found or [key for key in suites.by_key if key.startswith(f"{name}/")]
    if not found:
        raise unknown(f"suite of study {study}", name, suites.by_key)
    if len(found) > 1:
        raise UserError(f"study {study} has several suites that {shortened(name)} may mean: write {', '.join(found)}")
    return found[0]


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
