"""The scale-down rule: one mapping, a study's ``scale:``, that makes any recipe fit small data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nofrost.config.base import difference, merge
from nofrost.config.optimisation import ScheduleSpec
from nofrost.config.recipe import PHASE_KEYS

Path = tuple[str, ...]

# Sizes of which phases keep their proportion to the largest phase, and the least they may be.
SIZES: dict[Path, int] = {("schedule", "epochs"): 1, ("schedule", "batch_size"): 2, ("views", "image_size"): 4}
# What is counted in epochs, and shrinks with them.
LENGTHS: tuple[Path, ...] = (
    ("schedule", "milestones"),
    ("schedule", "points"),
    ("schedule", "lr_warmup_epochs"),
    ("schedule", "threat_warmup_epochs"),
    ("schedule", "running_statistics_epochs"),
    ("objective", "tau_milestones"),
    ("optimiser", "averaging", "start_epoch"),
)
WHOLE = ("schedule", "running_statistics_epochs")
STEPS = ("attack", "steps")


def scaled(recipe: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe with `scale` on top, and on top of each of its phases, which would otherwise undo it.

    The largest phase gets the epochs, batch size and image size of `scale`; the others keep their proportion to it.
    What is counted in epochs and not named by `scale` (milestones, points, warm-ups, running statistics, averaging)
    shrinks as the epochs do. The steps of an attack are lowered to those of `scale`, never raised: one step of Fast
    stays one. Values that are no numbers are left to the schema, which refuses them.
    """
    alone = {key: value for key, value in recipe.items() if key != "phases"}
    result = merge(recipe, _changes(alone, scale, {}))
    phases = recipe.get("phases")
    if isinstance(phases, Mapping) and phases:
        wholes = {name: merge(alone, changes) for name, changes in phases.items() if isinstance(changes, Mapping)}
        largest = {path: max((_number(_own(whole, path)) for whole in wholes.values()), default=0) for path in SIZES}
        small = {name: merge(whole, _changes(whole, scale, largest)) for name, whole in wholes.items()}
        result["phases"] = {
            **phases,
            **{name: difference(_of_phase(result), _of_phase(whole)) for name, whole in small.items()},
        }
    return result


def _of_phase(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in PHASE_KEYS}


def _changes(whole: Mapping[str, Any], scale: Mapping[str, Any], largest: Mapping[Path, float]) -> dict[str, Any]:
    """Return what `scale` changes in one phase, whose settings together are `whole`."""
    changes = dict(scale)
    for path, least in SIZES.items():
        wanted, own = _number(_at(scale, path)), _number(_own(whole, path))
        if wanted and own and largest.get(path):
            changes = _with(changes, path, max(least, round(wanted * own / largest[path])))
    wanted, own = _number(_at(scale, STEPS)), _number(_at(whole, STEPS))
    if own and wanted > own:
        changes = _with(changes, STEPS, own)
    epochs = _number(_own(whole, ("schedule", "epochs")))
    share = _number(_at(changes, ("schedule", "epochs"))) / epochs if epochs else 0
    for path in LENGTHS if share else ():
        if (length := _at(whole, path)) and _at(scale, path) is None:
            shrunk = _shrunk(length, share)
            changes = _with(changes, path, max(1, round(shrunk)) if path == WHOLE and _is_number(shrunk) else shrunk)
    return changes


def _shrunk(length: Any, share: float) -> Any:
    if isinstance(length, list | tuple):  # of epochs, or of points (epoch, share of the peak)
        return [[_shrunk(x[0], share), *x[1:]] if isinstance(x, list | tuple) else _shrunk(x, share) for x in length]
    return round(length * share, 3) if _is_number(length) else length


def _own(whole: Mapping[str, Any], path: Path) -> Any:
    value = _at(whole, path)
    return ScheduleSpec().as_json().get(path[-1]) if value is None and path[0] == "schedule" else value


def _at(values: Any, path: Path) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _number(value: Any) -> float:
    return value if _is_number(value) else 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with(values: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return merge(values, value)
