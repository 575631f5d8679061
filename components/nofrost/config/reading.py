"""Read configuration files, shipped ones by name and the user's by path, and merge each onto its ``base:``."""

import os
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nofrost.config.base import Schema, merge
from nofrost.config.recipe import Recipe
from nofrost.config.sizes import check_size, for_other_rows, with_inherited_changes
from nofrost.config.suite import AdversarialSuite, OodSuite
from nofrost.config.sweeps import axes_over
from nofrost.config.validation import error_of_file
from nofrost.config.yaml_text import MOST_CHARACTERS, parse
from nofrost.errors import UserError, closest, shortened, unknown
from nofrost.limits import regular_file
from nofrost.system_errors import cannot_read

Kind = str  # "recipe", "suite", "study" or "printed": the shipped files lie in a package folder of their own
_FOLDERS = {"recipe": "recipes", "suite": "suites", "study": "studies", "printed": "printed"}
# Of these kinds there are more than a message can list.
_LISTS = {"recipe": "nofrost recipes list", "study": "nofrost study list"}
_MOST_BASES = 20
_MOST_BYTES = 2 * MOST_CHARACTERS
SUITES: dict[str, type[AdversarialSuite] | type[OodSuite]] = {"adversarial": AdversarialSuite, "ood": OodSuite}


def shipped_names(kind: Kind) -> list[str]:
    """Return the names of the recipes, suites or studies that come with the package, sorted."""
    return sorted(_shipped_files(kind))


@cache
def _shipped_files(kind: Kind) -> dict[str, Path]:
    """Return the shipped files by name; folders (one for each paper) only group them."""
    return {path.stem: path for path in (Path(str(files("nofrost"))) / _FOLDERS[kind]).rglob("*.yaml")}


def is_path(name: str) -> bool:
    """Return whether `name` is the path of a user's file and not the name of a shipped one."""
    return name.endswith((".yaml", ".yml")) or os.sep in name


def read(kind: Kind, name: object, named_by: tuple[str, ...] = (), key: str = "base") -> dict[str, Any]:
    """Return the values of the file of this name or path, merged onto its bases.

    Args:
        kind: what the file holds.
        name: a shipped name or a path; inside a file a path is relative to the folder of that file.
        named_by: the files whose ``base:`` led to this one, the nearest last.
        key: of the nearest file that names this one, for errors.

    Raises:
        UserError: there is none, it is not YAML or holds no mapping, has an unknown key or a value of the wrong
            type, or its bases form a circle. A missing key is no error here, as another file may supply it.
    """
    named_at = f"{named_by[-1]}: {key}: " if named_by else ""
    if not isinstance(name, str | Path):
        raise UserError(f"{named_at}{shortened(name)} does not name a {kind}: write a name or the path of a YAML file")
    origin = str(name)
    if is_path(origin) and named_by:
        origin = os.path.normpath(Path(named_by[-1]).parent / origin)
    if not is_path(origin):
        if origin not in _shipped_files(kind):
            hint = "a file of your own is named by its path, such as mine.yaml"
            raise UserError(f"{named_at}{_not_shipped(kind, origin)}; {hint}")
        return deepcopy(_shipped_values(kind, origin))
    text = read_text(Path(origin), kind, named_at)
    if _identity(origin) in map(_identity, named_by):
        raise UserError(f"base: leads in a circle, {' -> '.join((*named_by, origin))}: take one of them out")
    if len(named_by) > _MOST_BASES:
        raise UserError(
            f"{named_by[0]}: more than {_MOST_BASES} files follow one another by base:, {origin} last: join some"
        )
    values = parse(text, origin)
    if kind == "study":
        check_size(values, origin)
        values = _with_absolute_paths(values, origin)
    values = on_its_base(kind, values, (*named_by, origin))
    _check(kind, values, origin)
    return values


@cache
def _shipped_values(kind: Kind, name: str) -> dict[str, Any]:
    """Return what :func:`read` does of a shipped file, which many others may have as their base; not to be changed."""
    text = _shipped_files(kind)[name].read_text(encoding="utf-8")
    values = on_its_base(kind, parse(text, name), (name,))
    _check(kind, values, name)
    return values


def on_its_base(kind: Kind, values: Mapping[str, Any], named_by: tuple[str, ...], key: str = "base") -> dict[str, Any]:
    """Return `values` merged onto the file that its key ``base`` names; without that key, `values` itself.

    A study that names printed tables, and no recipes, trains their rows: it has none of the recipes of its base. One
    that lists recipes has no starts of its base, which belong to rows. The size of a base that is spelled out is not
    that of a study which changes it.

    Args:
        key: where in the nearest file of `named_by` the values stand, for errors.
    """
    changes = dict(values)
    if (base := changes.pop("base", None)) is None:
        return changes
    below = read(kind, base, named_by, key)
    if kind == "study":
        below = with_inherited_changes(below)
        below.pop("size", None)
        if "recipes" in changes:
            below.pop("starts", None)
        if "printed" in changes and "recipes" not in changes:
            below = for_other_rows(below)
        if "sweep" in changes:
            changes["sweep"], below["sweep"] = axes_over(below.get("sweep"), changes["sweep"]), None
    return merge(below, changes)


def _not_shipped(kind: Kind, name: str) -> str:
    known = shipped_names(kind)
    if kind in _LISTS:
        hint = closest(name, known)
        return f"unknown {kind} {shortened(name)}: {hint}`{_LISTS[kind]}` prints the {len(known)} that are shipped"
    alike = [each for each in known if each.partition("-")[0] == name.partition("-")[0]]
    return str(unknown(kind, name, alike or known))


def read_text(path: Path, kind: str, named_by: str = "") -> str:
    """Return the text of a user's file of this kind; `named_by` is the prefix of error messages.

    Raises:
        UserError: it cannot be read, is no regular file or is not UTF-8.
    """
    regular_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise OSError(0, f"It has more than {_MOST_BYTES:,} bytes")
        return content.decode("utf-8")
    except OSError as error:
        raise UserError(f"{named_by}{cannot_read(error, f'the {kind} file {path}')}") from None
    # Of the content, or of a name with a null character.
    except ValueError:
        reason = "it is not UTF-8 text: check the path"
        raise UserError(f"{named_by}cannot read the {kind} file {path}: {reason}") from None


def _with_absolute_paths(study: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return the study with all paths in it made absolute, as it may be the base of one elsewhere."""

    def absolute(entry: Any) -> Any:
        if isinstance(entry, str) and is_path(entry):
            return str((Path(origin).parent / entry).absolute())
        if isinstance(entry, dict) and "base" in entry:
            return {**entry, "base": absolute(entry["base"])}
        return entry

    def absolute_entries(entries: Any) -> Any:
        if isinstance(entries, dict):
            return {key: absolute(entry) for key, entry in entries.items()}
        return [absolute(entry) for entry in entries] if isinstance(entries, list) else entries

    result = {key: absolute_entries(each) if key in ("recipes", "starts") else each for key, each in study.items()}
    suites = study.get("suites")
    if isinstance(suites, dict):
        result["suites"] = {kind: absolute_entries(entries) for kind, entries in suites.items()}
    return result


def _check(kind: Kind, values: dict[str, Any], origin: str) -> None:
    suite = values.get("kind")
    suite_schema = SUITES.get(suite) if isinstance(suite, str) else None
    schema: type[Schema] | None = {"recipe": Recipe, "suite": suite_schema}.get(kind)
    if schema is None:
        return
    try:
        TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        if message := error_of_file(error, schema, origin):
            raise UserError(message) from None


def _identity(origin: str) -> Path | str:
    return Path(origin).resolve() if is_path(origin) else origin
