"""Load recipes, suites and studies: shipped files by name, the user's by path, with overrides `--set key=value`.

A file may name another one with ``base:`` and then states only changes to it (`reading.py`). A study is spelled out
(`expansion.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nofrost.config.base import LEFT_OUT, Schema, merge, nested
from nofrost.config.dataset import DatasetSpec
from nofrost.config.expansion import spelled_out
from nofrost.config.reading import SUITES, read, read_text, shipped_names
from nofrost.config.recipe import Recipe
from nofrost.config.sizes import differs_in_size, sizes_of
from nofrost.config.study import Study
from nofrost.config.suite import Suite
from nofrost.config.validation import sentence
from nofrost.config.yaml_text import as_yaml, parse, parse_value
from nofrost.errors import UserError, shortened, unknown

S = TypeVar("S", bound=Schema)
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
    values = spelled_out(file, str(name), size)
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
        UserError: it names another, or the sweep that made them, or the size.
    """
    section, *path = text.partition("=")[0].strip().split(".")
    if section == "size":
        raise UserError(
            f"--set {shortened(text)}: a size is not a setting: leave it out, and choose one of those that the study "
            "has with --size"
        )
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
    return validated(Study, _with_datasets(spelled_out(parse(text, "the study"), "the study")), "the study")


def study_as_yaml(study: Study) -> str:
    """Return the study with everything spelled out, as `params.yaml` holds it."""
    return (
        "# The active study: `nofrost study select NAME` wrote it. Edit it, or try values with "
        "`dvc exp run -S key=value`.\n# Other runs: `nofrost study select params.yaml --set 'runs.seed=[0, 1]'`, since "
        "DVC takes them from the last key, `trainings`.\n" + as_yaml(study.as_json())
    )


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
