"""The sizes of a study: each but ``paper``, the study as it stands, is a mapping that is laid over it."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from nofrost.config.base import LEFT_OUT, merge
from nofrost.config.sweeps import axes_over
from nofrost.errors import UserError, shortened, unknown

Size = Literal["tiny", "small", "paper"]
"""How large a study is run."""

PAPER = "paper"
SIZES: tuple[str, ...] = get_args(Size)
# What a size may change. Its name, title and printed numbers belong to the study.
KEYS = ("note", "dataset", "datasets", "augmentation", "scale", "runs", "recipes", "sweep", "suites")

# Keys of a dataset that change none of its images.
_PLACE = ("path", "download", "storage")


class Inherited(dict[str, Any]):
    """What the base of a study changes in one of its recipes at a size: nothing where the study has other recipes."""


def with_inherited_changes(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base of a study, where changes of recipes at its sizes are marked as inherited."""
    if not isinstance(sizes := base.get("sizes"), Mapping):
        return dict(base)
    return {**base, "sizes": {size: _inherited(changes) for size, changes in sizes.items()}}


def _inherited(changes: Any) -> Any:
    if not isinstance(changes, Mapping) or not isinstance(recipes := changes.get("recipes"), Mapping):
        return changes
    marked = {name: Inherited(each) if isinstance(each, Mapping) else each for name, each in recipes.items()}
    return {**changes, "recipes": marked}


def for_other_rows(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base of a study that trains the rows of its own tables: without recipes, at any size."""
    result: dict[str, Any] = _without_runs({key: value for key, value in base.items() if key != "recipes"})
    if isinstance(sizes := result.get("sizes"), Mapping):
        result["sizes"] = {name: _without_runs(size) for name, size in sizes.items()}
    return result


def _without_runs(values: Any) -> Any:
    if not isinstance(values, Mapping) or not isinstance(runs := values.get("runs"), Mapping):
        return values
    return {**values, "runs": {key: value for key, value in runs.items() if key != "recipe"}}


def sizes_of(study: Mapping[str, Any], origin: str) -> dict[str, Mapping[str, Any]]:
    """Return the sizes of a study as read from the file `origin`, ``paper`` last; none where it has none.

    Raises:
        UserError: they have another form.
    """
    sizes = study.get("sizes", {})
    if not isinstance(sizes, Mapping):
        raise UserError(f"{origin}: sizes: {shortened(sizes)} is not a mapping: write such as small: {{dataset: ...}}")
    for name, changes in sizes.items():
        if name not in SIZES or name == PAPER:
            allowed = [size for size in SIZES if size != PAPER]
            raise unknown(f"key in {origin}: sizes ({PAPER} is the study as it stands):", str(name), allowed)
        if not isinstance(changes, Mapping):
            where = f"{origin}: sizes.{name}: {shortened(changes)}"
            raise UserError(f"{where} is not a mapping: write what of the study it changes, such as dataset: ...")
        for key in changes:
            if key not in KEYS:
                raise unknown(f"key in {origin}: sizes.{name}:", str(key), KEYS)
    return {**{name: sizes[name] for name in SIZES if name in sizes}, PAPER: {}} if sizes else {}


def of_size(study: Mapping[str, Any], origin: str, size: str | None) -> dict[str, Any]:
    """Return the study, as read from the file `origin`, in this size; None: as it stands.

    The note of a size follows that of the study.

    Raises:
        UserError: the study does not have the size, or the size changes a recipe, an axis or a suite that the study
            does not have.
    """
    sizes = sizes_of(study, origin)
    values = {key: value for key, value in study.items() if key != "sizes"}
    if not sizes:
        if size is not None:
            raise UserError(f"{origin} has no sizes: leave out --size {shortened(size)}")
        return values
    size = PAPER if size is None else size
    if size not in sizes:
        raise unknown(f"size of study {origin}:", size, sizes)
    changes = dict(sizes[size])
    if isinstance(note := values.get("note"), str) and isinstance(changes.get("note"), str):
        changes["note"] = f"{note} {changes['note']}"
    where = f"{origin}: sizes.{size}"
    if "recipes" in changes:
        recipes = changes.pop("recipes")
        for name, change in recipes.items() if isinstance(recipes, Mapping) else ():
            if change is None:
                raise UserError(
                    f"{where}.recipes.{name} is null, which changes nothing: to train fewer recipes list the others in "
                    f"sizes.{size}.runs.recipe"
                )
        values["recipes"] = _laid_over(values["recipes"], recipes, f"{origin}: recipes", f"{where}.recipes")
    if "sweep" in changes:
        values["sweep"] = _axes(values.get("sweep"), changes.pop("sweep"), f"{where}.sweep")
    if "suites" in changes:
        values["suites"] = _suites(values.get("suites"), changes.pop("suites"), f"{origin}: suites", f"{where}.suites")
    return {**merge(values, changes), "size": size}


def check_size(study: Mapping[str, Any], origin: str) -> None:
    """Check that a file says of which size it is only where `nofrost study select` has spelled it out in that size.

    Args:
        study: the keys of the file itself, without those of its base.
        origin: the file.

    Raises:
        UserError: it has sizes, which are chosen with --size, or is not spelled out.
    """
    if (size := study.get("size")) is None:
        return
    where = f"{origin}: size: {shortened(size)}"
    if "sizes" in study:
        raise UserError(f"{where} stands beside sizes, of which --size chooses one: leave it out")
    # `trainings` follows from the other keys, and is written by nobody else.
    if "base" in study or "trainings" not in study:
        raise UserError(
            f"{where} is for a study that is spelled out, such as params.yaml: leave it out, and let `nofrost study "
            "select` write it with --size"
        )


def differs_in_size(study: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether a study differs from another in what a size may change, other than where its images lie."""
    return any(_of_a_size(study, key) != _of_a_size(other, key) for key in KEYS if key != "note")


def _of_a_size(study: Mapping[str, Any], key: str) -> Any:
    values = study.get(key)
    if key == "datasets" and isinstance(values, Mapping):
        return {name: _without_place(each) for name, each in values.items()}
    return _without_place(values) if key == "dataset" else values


def _without_place(dataset: Any) -> Any:
    if not isinstance(dataset, Mapping):
        return dataset
    return {name: value for name, value in dataset.items() if name not in _PLACE}


def _laid_over(base: Mapping[str, Any], changes: Any, base_at: str, changes_at: str) -> dict[str, Any]:
    """Return recipes or suites with changes on top, where a name stands for the file of that name.

    Null takes a suite away, and one that is taken away already has no changes, nor has a recipe that only the base of
    the study has.
    """
    if not isinstance(changes, Mapping):
        raise UserError(f"{changes_at}: {shortened(changes)} is not a mapping from names of the study to changes")
    result = dict(base)
    for name, change in changes.items():
        if name not in base and isinstance(change, Inherited):
            continue
        if name not in base:
            raise unknown(f"name in {changes_at}:", str(name), base)
        if change is None or base[name] is LEFT_OUT:
            result[name] = LEFT_OUT
            continue
        entry = {"base": name} if base[name] in (None, {}) else base[name]
        entry = {"base": entry} if isinstance(entry, str) else entry
        for where, each in ((base_at, entry), (changes_at, change)):
            if not isinstance(each, str | Mapping):
                raise UserError(
                    f"{where}.{name}: {shortened(each)} is not a name, a path or a mapping: write one of them"
                )
        result[name] = merge(entry, change) if isinstance(change, Mapping) else change
    return result


def _axes(axes: Any, changes: Any, where: str) -> Any:
    """Return the axes of a sweep with those of a size on top; what is no mapping of axes is left to `swept`."""
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: {shortened(changes)} is not a mapping from axes of the study to changes")
    axes = {} if axes is None else axes
    if not isinstance(axes, Mapping):
        return axes
    for name in changes:
        if name not in axes:
            raise unknown(f"axis in {where}:", str(name), axes)
    return axes_over(axes, changes)


def _suites(kinds: Any, changes: Any, kinds_at: str, changes_at: str) -> dict[str, Any]:
    """Return the suites of a study by kind and name, with changes of a size on top.

    A kind that is no mapping is left to be refused where suites are spelled out.
    """
    kinds = {} if kinds is None else kinds
    if not isinstance(changes, Mapping):
        raise UserError(f"{changes_at}: {shortened(changes)} is not a mapping: write such as adversarial: ...")
    if not isinstance(kinds, Mapping):
        example = "write such as adversarial: {quick: adversarial-quick}"
        raise UserError(f"{kinds_at}: {shortened(kinds)} is not a mapping from kinds to suites: {example}")
    result = dict(kinds)
    for kind, suites in changes.items():
        base = {} if kinds.get(kind) is None else kinds[kind]
        if isinstance(base, Mapping):
            result[kind] = _laid_over(base, suites, f"{kinds_at}.{kind}", f"{changes_at}.{kind}")
    return result
