"""Load recipes, suites and studies: shipped files by name, the user's by path, with overrides `--set key=value`.

A file may name another one with ``base:`` and then states only changes to it. A study lists recipes and suites by name,
by path, or spelled out, or names printed tables whose trainings are its recipes, and under ``starts:`` the recipes that
these start from where no row is one; its ``scale:`` makes all of its recipes smaller (`scaling.py`), and its ``sweep:``
multiplies them (`sweeps.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nofrost.config.base import LEFT_OUT, Schema, first_duplicate, merge, nested
from nofrost.config.dataset import DatasetSpec
from nofrost.config.printed import load_printed
from nofrost.config.reading import SUITES, is_path, on_its_base, read, read_text, shipped_names
from nofrost.config.recipe import Recipe
from nofrost.config.scaling import scaled
from nofrost.config.sizes import differs_in_size, of_size, sizes_of
from nofrost.config.study import Study
from nofrost.config.suite import Suite
from nofrost.config.sweeps import names_at_places, swept
from nofrost.config.validation import sentence
from nofrost.config.yaml_text import as_yaml, parse, parse_value
from nofrost.errors import UserError, shortened, unknown

S = TypeVar("S", bound=Schema)
_MOST_RECIPES = 300
_MOST_LEVELS = 20


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of this name or path.

    Raises:
        UserError: there is none, or a key or value is wrong; the message names file, key and what is allowed.
    """
    return validated(Recipe, overridden(read("recipe", name), overrides), str(name), overrides)


def load_suite(name: str | Path, overrides: Sequence[str] = ()) -> Suite:
    """Return the suite of this name or path; raises like :func:`load_recipe`."""
    values = overridden(read("suite", name), overrides)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in SUITES:
        raise UserError(f"{name}: kind is {shortened(kind)}: write kind: adversarial or kind: ood")
    return validated(SUITES[kind], values, str(name), overrides)


def load_study(name: str | Path, overrides: Sequence[str] = (), size: str | None = None) -> Study:
    """Return the study of this name or path with its recipes and suites spelled out; raises like `load_recipe`.

    With overrides of what its size says it is of no size, and so is a spelled-out study, such as params.yaml, that was
    changed by hand: one whose settings are not those of the shipped study of its name in this size.

    Args:
        size: of those that the study has; None: the study as it stands, which is ``paper`` where it has sizes.
    """
    file = read("study", name)
    values = _expand_study(file, str(name), size)
    for text in overrides:
        _check_name(text, values)
    changed = overridden(values, overrides)
    if differs_in_size(values, changed):
        changed.pop("size", None)
    study = validated(Study, _with_datasets(changed), str(name), overrides)
    is_changed = study.size is not None and "size" in file and not _is_shipped(study)
    return study.model_copy(update={"size": None}) if is_changed else study


def _is_shipped(study: Study) -> bool:
    """Return whether a study of a size is the shipped study of its name in that size, if there is such a one."""
    if study.name not in shipped_names("study") or study.size not in study_sizes(study.name):
        return True
    ours, shipped = study.as_json(), load_study(study.name, size=study.size).as_json()
    # Settings of augmentation methods at their defaults are spelled out in the file alone.
    ours["augmentation"] = {key: ours["augmentation"].get(key) for key in shipped["augmentation"]}
    return not differs_in_size(ours, shipped)


def _check_name(text: str, study: Mapping[str, Any]) -> None:
    """Check that an override inside of a recipe or suite names one of the study: a misspelt name would add one.

    Raises:
        UserError: it names another, or the sweep that made them.
    """
    section, *path = text.partition("=")[0].strip().split(".")
    if section == "sweep":
        raise UserError(
            f"--set {shortened(text)}: a study spelled out has the recipes of its sweep instead: change the sweep in a "
            "file whose base is the study"
        )
    if section == "recipes" and len(path) > 1:
        kind, name, entries = "recipe", path[0], study["recipes"]
    elif section == "suites" and len(path) > 1 and path[1] and isinstance(study["suites"], Mapping):
        kind, name, entries = f"{path[0]} suite", path[1], study["suites"].get(path[0])
    elif section == "datasets" and len(path) > 1:
        kind, name, entries = "dataset", path[0], study.get("datasets", {})
    else:
        return
    known = [each for each, entry in entries.items() if entry is not LEFT_OUT] if isinstance(entries, Mapping) else None
    if known is not None and name not in known:
        raise unknown(f"{kind} in --set {shortened(text)}:", name, known)


def study_sizes(name: str | Path) -> list[str]:
    """Return the sizes that the study of this name or path has, ``paper`` last; raises like `load_recipe`."""
    return list(sizes_of(read("study", name), str(name)))


def load_schema(schema: type[S], path: Path) -> S:
    """Return the YAML file at `path` as another `schema` than recipe, suite or study; raises like `load_recipe`."""
    return validated(schema, parse(read_text(path, "configuration"), str(path)), str(path))


def parse_study(text: str) -> Study:
    """Return the study that YAML `text` spells out, such as :func:`study_as_yaml` makes; raises like `load_recipe`."""
    return validated(Study, _with_datasets(_expand_study(parse(text, "the study"), "the study")), "the study")


def study_as_yaml(study: Study) -> str:
    """Return the study with everything spelled out, as `params.yaml` holds it."""
    return (
        "# The active study: `nofrost study select NAME` wrote it. Edit it, or try values with "
        "`dvc exp run -S key=value`.\n# Other runs: `nofrost study select params.yaml --set 'runs.seed=[0, 1]'`, since "
        "DVC takes them from the last key, `trainings`.\n" + as_yaml(study.as_json())
    )


def _expand_study(values: dict[str, Any], origin: str, size: str | None = None) -> dict[str, Any]:
    named_by, values = ((origin,) if is_path(origin) else ()), dict(values)
    starts = values.pop("starts", {})
    if "recipes" not in values:
        values["recipes"] = _printed_recipes(values.get("printed"), starts, origin)
    elif starts:
        raise UserError(f"{origin}: starts stands beside the recipes of printed tables: write these under recipes")
    values = of_size(values, origin, size)
    scale = values.pop("scale", {})
    recipes = _recipe_entries(values.get("recipes"), origin)
    if not isinstance(scale, dict):
        where = f"{origin}: scale: {shortened(scale)}"
        raise UserError(f"{where} is not a mapping: write keys of a recipe, such as schedule: ...")
    # only the base is scaled: what the study itself sets in a recipe is kept
    values["recipes"] = {}
    for name, entry in recipes.items():
        changes = dict(entry)
        base = changes.pop("base", None)
        base = on_its_base("recipe", base if isinstance(base, Mapping) else {"base": base}, named_by)
        values["recipes"][name] = merge(scaled(base, scale), changes)
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
    lists = of_datasets.values() if isinstance(of_datasets, Mapping) else ()
    elsewhere = {name for names in lists for name in _as_list(names) or ()}
    return [name for name in recipes if name not in elsewhere]


def _as_list(names: Any) -> Any:
    """Return a list of one name for a name; what is neither a name nor a list is left to the schema."""
    return [names] if isinstance(names, str) else names


def _with_datasets(study: dict[str, Any]) -> dict[str, Any]:
    """Return the study with each of its further datasets laid over its dataset.

    Where the source is another one, options of the source itself are not those of the dataset.
    """
    dataset, further = study.get("dataset"), study.get("datasets")
    if not isinstance(dataset, Mapping) or not isinstance(further, Mapping):
        return study
    source = dataset.get("source", DatasetSpec().source)
    common = {key: value for key, value in dataset.items() if key in DatasetSpec.model_fields}
    laid = {
        name: merge(dataset if each.get("source", source) == source else common, each)
        if isinstance(each, Mapping)
        else each
        for name, each in further.items()
    }
    return {**study, "datasets": laid}


def _printed_recipes(names: Any, starts: Any, origin: str) -> dict[str, Any] | None:
    """Return the trainings of printed tables as recipes of a study, and then `starts`; None where it names no table.

    The settings of both are part of their base: they say what the paper trained, which a study's scale then changes.
    Two tables with different trainings under one name are refused by the study. A row stands for a start of its name.
    """
    if not isinstance(starts, Mapping):
        where = f"{origin}: starts: {shortened(starts)}"
        raise UserError(f"{where} is not a mapping: write names and recipes, such as all-n: zeise2025-all-n")
    names = _as_list(names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    found: dict[str, Any] = {}
    for name in names:
        for run, recipe, settings in load_printed(name).trainings():
            found.setdefault(run, {"base": nested({"base": recipe, **settings})})
    for name, start in starts.items():
        found.setdefault(name, {"base": start if isinstance(start, Mapping) else {"base": start}})
    return found or None


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
        else on_its_base("suite", _entry(suite, f"{where}.{name}"), named_by)
        for name, suite in entries.items()
    }


def _recipe_entries(recipes: Any, origin: str) -> dict[str, Mapping[str, Any]]:
    """Return the recipes of a study by name, each with its keys and its ``base``."""
    if isinstance(recipes, list) and all(isinstance(name, str) for name in recipes):
        names = [Path(name).stem if is_path(name) else name for name in recipes]
        if (twice := first_duplicate(names)) is not None:
            twice = shortened(twice)
            raise UserError(f"{origin}: recipes lists {twice} twice: name each once, or map names to recipes")
        recipes = dict(zip(names, recipes, strict=True))
    if not isinstance(recipes, dict) or not recipes:
        raise UserError(f"{origin}: key recipes must list names of recipes, such as [st, sat], or map names to recipes")
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


def overridden(values: dict[str, Any], overrides: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Return `values` with each override ``key=value`` (dotted key, YAML value) applied in order.

    Args:
        option: the command line option of the overrides, for the error.

    Raises:
        UserError: a text is not of this form, or its value is not YAML.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"{option} {shortened(text)} is not of the form key=value, such as schedule.epochs=3")
        if key.count(".") > _MOST_LEVELS:
            raise UserError(
                f"{option} {shortened(text)} names more than {_MOST_LEVELS} levels: no setting lies so deep"
            )
        change = parse_value(value, f"{option} {shortened(text)}")
        values = merge(values, nested({key.strip(): change}))
    return values


def validated(schema: type[S], values: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> S:
    """Return `values` as a `schema`; `origin` is their file, and `overrides` were applied to it.

    Raises:
        UserError: a key or value is wrong; the message names file, key and what is allowed.
    """
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise UserError(sentence(error, schema, origin, overrides)) from None
