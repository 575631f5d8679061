"""Spell out a study: its recipes and suites with all keys, in one size, with its scale and its sweep.

A study lists recipes and suites by name, by path, or spelled out, or names printed tables whose trainings are its
recipes, and under ``starts:`` the recipes that these start from where no row is one; its ``scale:`` makes all of its
recipes smaller (`scaling.py`), and its ``sweep:`` multiplies them (`sweeps.py`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nofrost.config.base import LEFT_OUT, first_duplicate, merge, nested
from nofrost.config.printed import Printed, load_printed
from nofrost.config.reading import is_path, on_its_base
from nofrost.config.scaling import scaled
from nofrost.config.sizes import of_size
from nofrost.config.sweeps import names_at_places, swept
from nofrost.errors import UserError, shortened

_MOST_RECIPES = 300


def spelled_out(values: Mapping[str, Any], origin: str, size: str | None = None) -> dict[str, Any]:
    """Return the study, as read from the file `origin`, with recipes and suites spelled out; its schema is not checked.

    Args:
        size: of those that the study has; None: the study as it stands.

    Raises:
        UserError: a recipe or suite that it names is not there, or one of these keys has another form.
    """
    named_by, values = ((origin,) if is_path(origin) else ()), dict(values)
    starts = {} if (starts := values.pop("starts", None)) is None else starts
    if not isinstance(starts, Mapping):
        where = f"{origin}: starts: {shortened(starts)}"
        raise UserError(f"{where} is not a mapping: write names and recipes, such as all-n: zeise2025-all-n")
    if "recipes" not in values:
        values["recipes"] = _printed_recipes(values.get("printed"), starts, origin)
    elif starts:
        raise UserError(f"{origin}: starts stands beside the recipes of printed tables: write these under recipes")
    values["recipes"] = _by_name(values["recipes"], origin)
    values = of_size(values, origin, size)
    scale = values.pop("scale", {})
    recipes = _recipe_entries(values["recipes"], origin)
    if not isinstance(scale, dict):
        where = f"{origin}: scale: {shortened(scale)}"
        raise UserError(f"{where} is not a mapping: write keys of a recipe, such as schedule: ...")
    # only the base is scaled: what the study itself sets in a recipe is kept
    values["recipes"] = {}
    for name, entry in recipes.items():
        changes = dict(entry)
        base = changes.pop("base", None)
        where = f"{'starts' if name in starts else 'recipes'}.{name}"
        base = on_its_base("recipe", base if isinstance(base, Mapping) else {"base": base}, named_by, where)
        values["recipes"][name] = merge(scaled(base, scale, f"{origin}: scale"), changes)
    runs = values.get("runs", {})
    if (sweep := values.pop("sweep", None)) is not None:
        values["recipes"], values["places"] = swept(values["recipes"], sweep, origin, _MOST_RECIPES)
        runs = _runs_at_places(runs, values["places"])
    if isinstance(runs, Mapping):
        values["runs"] = {"recipe": _without(values["recipes"], runs.get("dataset")), **runs}
    suites = values.setdefault("suites", {})
    if isinstance(suites, dict):
        values["suites"] = {kind: _suites_of_kind(kind, entries, origin, named_by) for kind, entries in suites.items()}
    return values


def _runs_at_places(runs: Any, places: Mapping[str, Any]) -> Any:
    """Return the runs of a study with the recipes that a sweep made, where they name those that it is over."""
    if not isinstance(runs, Mapping):
        return runs
    found = dict(runs)
    if isinstance(listed := runs.get("recipe"), list):
        found["recipe"] = names_at_places(listed, places)
    if isinstance(by_dataset := runs.get("dataset"), Mapping):
        found["dataset"] = {
            name: names_at_places(names, places) if isinstance(names := _as_list(each), list) else each
            for name, each in by_dataset.items()
        }
    return found


def _without(recipes: Mapping[str, Any], of_datasets: Any) -> list[str]:
    """Return the recipes that `runs.dataset` puts on no further dataset."""
    lists = map(_as_list, of_datasets.values() if isinstance(of_datasets, Mapping) else ())
    # What is no list of names is left to the schema.
    elsewhere = {name for each in lists if isinstance(each, list) for name in each if isinstance(name, str)}
    return [name for name in recipes if name not in elsewhere]


def _as_list(names: Any) -> Any:
    """Return a list of one name for a name; what is neither a name nor a list is left to the schema."""
    return [names] if isinstance(names, str) else names


def _printed_recipes(names: Any, starts: Any, origin: str) -> dict[str, Any] | None:
    """Return the trainings of printed tables as recipes of a study, and then `starts`; None where it names no table.

    The settings of both are part of their base: they say what the paper trained, which a study's scale then changes.
    Two tables with different trainings under one name are refused by the study. A row stands for a start of its name.
    """
    listed = [] if names is None else _as_list(names)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(
            f"{origin}: printed: {shortened(names)} does not name printed tables or figures: write the id of one, such "
            "as zeise2025-table-1, or a list of them; `nofrost study printed` lists those that are here"
        )
    found: dict[str, Any] = {}
    for name in listed:
        for run, recipe, settings in _table(name, origin).trainings():
            found.setdefault(run, {"base": nested({"base": recipe, **settings})})
    if listed and not found:
        raise UserError(
            f"{origin}: printed: {', '.join(listed)} has no row that is trained, and the study lists no recipes: list "
            "some under recipes, or name another table"
        )
    for name, start in starts.items():
        if start is None:
            remedy = f"write a recipe, such as {name}: zeise2025-all-n, or starts: null for none of those of the base"
            raise UserError(f"{origin}: starts.{name} is null: {remedy}")
        start = _entry(start, f"{origin}: starts.{name}")
        found.setdefault(name, {"base": start})
    return found or None


def _table(name: str, origin: str) -> Printed:
    try:
        return load_printed(name)
    except UserError as error:
        raise UserError(f"{origin}: printed: {error}") from None


def _suites_of_kind(kind: str, entries: Any, origin: str, named_by: tuple[str, ...]) -> Any:
    """Return the suites of a kind by name, each merged onto its base; null and no mapping are left to the schema."""
    where = f"{origin}: suites.{kind}"
    is_one_suite = isinstance(entries, Mapping) and not {"base", "kind"}.isdisjoint(entries)
    if isinstance(entries, str | list) or is_one_suite:
        example = entries if isinstance(entries, str) else f"{kind}-quick"
        raise UserError(
            f"{where} maps names to suites since a study may have several of a kind: write "
            f"{kind}: {{quick: {shortened(example).strip(chr(39))}}}, or the keys of the suite under such a name"
        )
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        return entries
    return {
        name: suite
        if suite is None or suite is LEFT_OUT
        else on_its_base("suite", _entry(suite, f"{where}.{name}"), named_by, f"suites.{kind}.{name}")
        for name, suite in entries.items()
    }


def _by_name(recipes: Any, origin: str) -> dict[str, Any]:
    """Return the recipes of a study by name, of which it may have a list, as it states them."""
    if isinstance(recipes, list) and all(isinstance(name, str) for name in recipes):
        names = [Path(name).stem if is_path(name) else name for name in recipes]
        if (twice := first_duplicate(names)) is not None:
            twice = shortened(twice)
            raise UserError(f"{origin}: recipes lists {twice} twice: name each once, or map names to recipes")
        recipes = dict(zip(names, recipes, strict=True))
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(f"{origin}: key recipes must list names of recipes, such as [st, sat], or map names to recipes")
    return recipes


def _recipe_entries(recipes: Mapping[str, Any], origin: str) -> dict[str, Mapping[str, Any]]:
    """Return the recipes of a study by name, each with its keys and its ``base``."""
    if len(recipes) > _MOST_RECIPES:
        raise UserError(f"{origin}: recipes names {len(recipes):,} recipes: name at most {_MOST_RECIPES} in one study")
    return {
        name: _entry(name if recipe in (None, {}) else recipe, f"{origin}: recipes.{name}")
        for name, recipe in recipes.items()
    }


def _entry(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"base": value}
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {shortened(value)} is not a name, a path or a mapping: write one of them")
    return value
