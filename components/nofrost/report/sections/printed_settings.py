"""In which settings the trainings and attacks of a study differ from those of the printed numbers beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nofrost.config import (
    AdversarialSuite,
    Printed,
    PrintedColumn,
    Recipe,
    Study,
    Suite,
    load_recipe,
    load_study,
    load_suite,
    shipped_names,
)
from nofrost.config.base import dotted
from nofrost.config.sizes import PAPER, differs_in_size
from nofrost.report import text
from nofrost.report.measurement import study_suite
from nofrost.report.runs import WORST_CASE

# Words of a recipe, which change no number.
_WORDS = ("title", "citation", "note")
# As many entries of a long list are shown at its beginning, and at its end.
_SHOWN = 3


def changed_attacks(table: Printed, study: Study) -> Iterator[str]:
    """Yield in which settings the attacks of a study differ from those of the shipped suites of the columns."""
    suites = study.suites.adversarial
    for column in {(column.suite, column.condition): column for column in table.columns.values()}.values():
        used = study_suite(suites, column.suite or "", table.suites)
        if used is None or not column.suite or column.suite.startswith("ood-"):
            continue
        theirs: Suite = load_suite(column.suite)
        if isinstance(theirs, AdversarialSuite) and (changes := _changes(theirs, suites[used], column)):
            yield f"{column.title} has {text.listed(changes)}"


def changed_trainings(table: Printed, study: Study) -> Iterator[str]:
    """Yield in which settings the trainings of a study differ from those of the printed rows: what is the same for
    several is said once, and of a row that is swept what is the same at all places, as the others are the sweep's."""
    ours = _by_row(study)
    found: dict[str, list[str]] = {}
    compared = [
        (name, load_recipe(recipe, [f"{key}={value}" for key, value in settings.items()]))
        for name, recipe, settings in table.trainings()
        if name in ours
    ]
    for name, theirs in compared:
        first, *others = (_differences(recipe, theirs) for recipe in ours[name])
        for change in first:
            if all(change in differences for differences in others):
                found.setdefault(change, []).append(name)
    by_names: dict[tuple[str, ...], list[str]] = {}
    for change, names in found.items():
        by_names.setdefault(tuple(names), []).append(change)
    among = [name for name, _ in compared]
    for of_names, changes in sorted(by_names.items(), key=lambda group: -len(group[0])):
        yield f"{_whose(of_names, among)}: {text.listed(changes)}"


def has_printed_settings(study: Study) -> bool:
    """Return whether a study is one of the size paper, or differs from this in its seeds alone."""
    if study.size in (None, PAPER) or study.name not in shipped_names("study"):
        return study.size == PAPER
    ours, theirs = study.as_json(), load_study(study.name, size=PAPER).as_json()
    return not differs_in_size({**ours, "runs": {**ours["runs"], "seed": theirs["runs"]["seed"]}}, theirs)


def _whose(names: Sequence[str], among: Sequence[str]) -> str:
    """Return names as a list, or, where that is shorter, as all of `among` but the others."""
    others = [name for name in among if name not in names]
    if len(names) == 1 or len(names) <= len(others):
        return text.listed(names)
    return f"every training but {text.listed(others)}" if others else "every training"


def _by_row(study: Study) -> dict[str, list[Recipe]]:
    """Return the recipes that are run by their names, those of a sweep by that of their row."""
    found: dict[str, list[Recipe]] = {}
    for name in study.runs.recipes:
        row = study.places[name].row if name in study.places else name
        found.setdefault(row, []).append(study.recipes[name])
    return found


def _differences(ours: Recipe, theirs: Recipe) -> list[str]:
    """Return in which settings a recipe differs; of a phase, those in which the recipe itself does not do so alike."""
    changed = _changed(*(dict(dotted(recipe.spelled_out())) for recipe in (ours, theirs)))
    found = {}
    for key, values in changed.items():
        section, _, of_phase = (*key.split(".", 2), "", "")[:3]
        if key.rpartition(".")[2] not in _WORDS and not (section == "phases" and changed.get(of_phase) == values):
            found[key] = values
    return _told(found)


def _changes(theirs: AdversarialSuite, ours: AdversarialSuite, column: PrintedColumn) -> list[str]:
    name = column.condition or ""
    threats = [text.threat(suite.threat.norm, suite.threat.eps) for suite in (ours, theirs)]
    changes = ["{} instead of {}".format(*threats)] if ours.threat != theirs.threat else []
    if name == WORST_CASE:
        return changes
    if name not in theirs.attacks or name not in ours.attacks:
        return []
    return [*changes, *_told(_changed(ours.attacks[name].as_json(), theirs.attacks[name].as_json()))]


def _changed(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ by their keys, ours first."""
    keys = {**theirs, **ours}
    return {key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)}


def _told(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    return [f"{key} {_setting(used)} instead of {_setting(printed)}" for key, (used, printed) in changed.items()]


def _setting(value: object) -> str:
    if value is None or (isinstance(value, Mapping) and not value):
        return "its default"
    # Of a rate that drops every two epochs there are dozens.
    if isinstance(value, list) and len(value) > 2 * _SHOWN + 1:
        first, last = (", ".join(map(str, some)) for some in (value[:_SHOWN], value[-_SHOWN:]))
        return f"[{first}, ..., {last}]"
    return str(value)
