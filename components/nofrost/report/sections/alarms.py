"""The checks that a robust accuracy is not the artefact of a weak attack."""

from __future__ import annotations

from nofrost.report import text
from nofrost.report.document import AlarmCard, Alarms, Paragraph, Section
from nofrost.report.measured import Alarm
from nofrost.report.runs import Collected, RecipeRuns


def alarms(collected: Collected) -> Section | None:
    """Return the alarms of every recipe, or None when no run was checked."""
    cards = [
        AlarmCard(recipe.name, recipe.position, found) for recipe in collected.recipes if (found := _of_recipe(recipe))
    ]
    if not cards:
        return None
    introduction = Paragraph(
        "Gradient masking makes a model look robust because the attack fails, not because the model withstands. Each "
        "check looks for one of its signs. A fail says that the robust accuracies are not to be trusted; a "
        "warning asks for a stronger attack."
    )
    return Section("alarms", "Alarms", "Alarms", [introduction, Alarms(cards)])


def _of_recipe(recipe: RecipeRuns) -> list[Alarm]:
    """Return the alarms of all seeds; what several seeds have alike stands there once, with these seeds named."""
    if len(recipe.runs) == 1:
        return list(recipe.runs[0].adversarial.alarms)
    seeds: dict[Alarm, list[int]] = {}
    for run in recipe.runs:
        for alarm in run.adversarial.alarms:
            seeds.setdefault(alarm, []).append(run.seed)
    return [
        alarm.model_copy(update={"name": f"{alarm.name} ({text.seeds(of_alarm)})"}) for alarm, of_alarm in seeds.items()
    ]
