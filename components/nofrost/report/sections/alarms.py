"""The checks that a robust accuracy is not the artefact of a weak attack."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from nofrost.report import text
from nofrost.report.document import AlarmCard, Alarms, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import Attacked, RecipeRuns, Run
from nofrost.results import STATUSES, Alarm

R = TypeVar("R", bound=Run)
# The flags that AutoAttack raises about its own results, by the names of our checks
AUTOATTACK_FLAGS = {
    "answers-are-repeatable": "randomised",
    "classes-suffice": "few classes",
    "forward-is-static": "dynamic",
    "gradients-not-zero": "zero gradient",
    "outputs-are-logits": "softmax",
    "white-box-beats-black-box": "Square",
}


def alarms(attacked: Attacked) -> Section | None:
    """Return the alarms of every recipe, or None when no run was checked."""
    cards = [
        AlarmCard(recipe.name, recipe.position, merged)
        for recipe in attacked.recipes
        if (merged := over_seeds(recipe, lambda run: run.adversarial.alarms))
    ]
    if not cards:
        return None
    introduction = Paragraph(
        "Gradient masking makes a model look robust because the attack fails, not because the model withstands it. "
        "Each check looks for one sign of it. A fail means that the robust accuracies are not to be trusted; a warning "
        "asks for a stronger attack."
    )
    return Section("alarms", "Alarms", "Alarms", [introduction, _table(attacked), Alarms(cards)])


def _table(attacked: Attacked) -> Table:
    """Return the status of each check by recipe, the worst over the seeds."""
    pairs = [(recipe, alarm) for recipe in attacked.recipes for run in recipe.runs for alarm in run.adversarial.alarms]
    names = list(dict.fromkeys(alarm.name for _, alarm in pairs))
    rows = [
        [
            Cell(name),
            *(
                _worst([alarm for owner, alarm in pairs if owner is recipe and alarm.name == name])
                for recipe in attacked.recipes
            ),
            Cell(AUTOATTACK_FLAGS.get(name, "")),
        ]
        for name in names
    ]
    columns = [
        Column("check", text=True),
        *(Column(recipe.name, text=True) for recipe in attacked.recipes),
        Column("flag of AutoAttack", text=True),
    ]
    several = " With several seeds the worst is shown." if len(attacked.study.runs.seed) > 1 else ""
    caption = (
        f"Every check of the adversarial evaluations of {attacked.manifest.name}; the reasons are given below. An "
        "empty cell means that the suite did not measure what the check needs. The last column names the flag that "
        f"AutoAttack's own code raises for the same sign.{several}"
    )
    return Table(caption, columns, rows)


def _worst(alarms: list[Alarm]) -> Cell:
    if not alarms:
        return Cell("")
    worst = min(alarms, key=lambda alarm: STATUSES.index(alarm.status))
    return Cell(worst.status, hint=worst.reason, status=worst.status)


def over_seeds(recipe: RecipeRuns[R], alarms: Callable[[R], Sequence[Alarm]]) -> list[Alarm]:
    """Return the alarms of all runs; an alarm that several seeds share is listed once and names them."""
    if len(recipe.runs) == 1:
        return list(alarms(recipe.runs[0]))
    seeds: dict[Alarm, list[int]] = {}
    for run in recipe.runs:
        for alarm in alarms(run):
            seeds.setdefault(alarm, []).append(run.seed)
    return [
        alarm.model_copy(update={"name": f"{alarm.name} ({text.seeds(numbers)})"}) for alarm, numbers in seeds.items()
    ]
