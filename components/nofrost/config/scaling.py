"""The scale-down rule: adapt any recipe to small data by one mapping, a study's ``scale:``."""

from collections.abc import Mapping
from typing import Any

from nofrost.config.base import difference, merge
from nofrost.config.optimisation import ScheduleSpec
from nofrost.config.recipe import PHASE_KEYS
from nofrost.errors import UserError, shortened

Path = tuple[str, ...]

BATCH_SIZE = ("schedule", "batch_size")
# Sizes that keep their proportion among the phases of a recipe, and the least value of each.
SIZES: dict[Path, int] = {("schedule", "epochs"): 1, BATCH_SIZE: 2, ("views", "image_size"): 4}
MILESTONES = ("schedule", "milestones")
# Lengths in epochs, which shrink with the epochs.
LENGTHS: tuple[Path, ...] = (
    MILESTONES,
    ("schedule", "points"),
    ("schedule", "lr_warmup_epochs"),
    ("schedule", "threat_warmup_epochs"),
    ("schedule", "running_statistics_epochs"),
    ("objective", "tau_milestones"),
    ("optimiser", "averaging", "start_epoch"),
)
WHOLE_EPOCHS = ("schedule", "running_statistics_epochs")
STEPS = ("attack", "steps")


def scaled(recipe: Mapping[str, Any], scale: Mapping[str, Any], where: str = "scale") -> dict[str, Any]:
    """Return the recipe with `scale` merged onto it and onto each of its phases, which would otherwise override it.

    The largest phase gets the epochs, batch size and image size of `scale`; the others keep their proportion to it.
    Lengths in epochs that `scale` does not set (milestones, points, warm-ups, running statistics, averaging) shrink as
    the epochs do; a rate that falls by the epoch still falls at least once before the last of several. An attack's
    steps are lowered to those of `scale` but never raised: the one step of Fast stays one. Batches of all images stay
    so.

    Where a value of `scale` is a mapping and that of the recipe is none, such as ``model.arch`` or ``attack.steps``, it
    has a smaller value for that of each recipe.

    Both are mappings as read from files and not validated, since a study may add what a base omits. Values of
    the wrong type are left for the schema to reject.

    Args:
        where: the file and key of `scale`, for the error.

    Raises:
        UserError: a mapping for values of recipes lacks that of this one.
    """
    scale = _for_recipe(scale, recipe, where)
    defaults = {key: value for key, value in recipe.items() if key != "phases"}
    result = merge(recipe, _changes(defaults, scale, {}))
    phases = recipe.get("phases")
    if isinstance(phases, Mapping) and phases:
        full = {name: merge(defaults, changes) for name, changes in phases.items() if isinstance(changes, Mapping)}
        largest = {path: max((_number(_size(phase, path)) for phase in full.values()), default=0) for path in SIZES}
        small = {name: merge(phase, _changes(phase, scale, largest)) for name, phase in full.items()}
        result["phases"] = {
            **phases,
            **{name: difference(_of_phase(result), _of_phase(phase)) for name, phase in small.items()},
        }
    return result


def _for_recipe(scale: Mapping[str, Any], recipe: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return `scale` with the values that its mappings have for those of the recipe."""
    result = dict(scale)
    for key, smaller in scale.items():
        value = recipe.get(key)
        if not isinstance(smaller, Mapping) or value is None:
            continue
        if isinstance(value, Mapping):
            result[key] = _for_recipe(smaller, value, f"{where}.{key}")
        elif str(value) in smaller:
            result[key] = smaller[str(value)]
        else:
            known = f", only for {', '.join(map(str, smaller))}" if smaller else ""
            raise UserError(
                f"{where}.{key} has no value for {shortened(str(value))}, which a recipe has{known}: add one there"
            )
    return result


def _of_phase(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in PHASE_KEYS}


def _changes(phase: Mapping[str, Any], scale: Mapping[str, Any], largest: Mapping[Path, float]) -> dict[str, Any]:
    """Return what `scale` changes in one phase, which has all of its settings.

    Args:
        largest: the sizes of the largest phase; empty where there are no phases.
    """
    changes = dict(scale)
    for path, least in SIZES.items():
        target, size = _number(_at(scale, path)), _number(_size(phase, path))
        if target and size and largest.get(path):
            changes = _with(changes, path, max(least, round(target * size / largest[path])))
    if _at(phase, BATCH_SIZE) == "all" and _at(scale, BATCH_SIZE) is not None:
        changes = _with(changes, BATCH_SIZE, "all")
    target, steps = _number(_at(scale, STEPS)), _number(_at(phase, STEPS))
    if steps and target > steps:
        changes = _with(changes, STEPS, steps)
    epochs = _number(_size(phase, ("schedule", "epochs")))
    ratio = _number(_at(changes, ("schedule", "epochs"))) / epochs if epochs else 0
    for path in LENGTHS if ratio else ():
        if (length := _at(phase, path)) and _at(scale, path) is None:
            scaled_length = _scaled_length(length, ratio)
            if path == WHOLE_EPOCHS and _is_number(scaled_length):
                scaled_length = max(1, round(scaled_length))
            if path == MILESTONES and _size(phase, ("schedule", "per")) == "epoch":
                scaled_length = _reached(scaled_length, _number(_at(changes, ("schedule", "epochs"))))
            changes = _with(changes, path, scaled_length)
    return changes


def _scaled_length(length: Any, ratio: float) -> Any:
    """Return a length in epochs times `ratio`; in a list every epoch, in points (epoch, share of peak) the first."""
    if isinstance(length, list | tuple):
        return [
            [_scaled_length(item[0], ratio), *item[1:]]
            if isinstance(item, list | tuple)
            else _scaled_length(item, ratio)
            for item in length
        ]
    return round(length * ratio, 3) if _is_number(length) else length


def _reached(milestones: Any, epochs: float) -> Any:
    """Return the milestones at which a rate that moves by the epoch falls, at least one of them before the last epoch.

    Those in the first epoch are left out, and those in the last one come at its beginning. A single epoch has none.
    """
    if epochs < 2 or not all(map(_is_number, milestones)):
        return milestones
    return list(dict.fromkeys(min(mark, epochs - 1) for mark in milestones if mark >= 1)) or [1]


def _size(phase: Mapping[str, Any], path: Path) -> Any:
    """Return the value at `path`, or the schema's default of a schedule."""
    value = _at(phase, path)
    return ScheduleSpec().as_json().get(path[-1]) if value is None and path[0] == "schedule" else value


def _at(values: Any, path: Path) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _number(value: Any) -> float:
    return value if _is_number(value) else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with(values: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return merge(values, value)
