"""Corruptions that recipes of a study have trained on: their accuracy on these is not one on unseen corruptions."""

from collections.abc import Sequence

from nofrost.report.runs import Collected
from nofrost.results import AugmentationMetrics, read_result

SET = "corruptions"  # the augmentation set


def trained_corruptions(collected: Collected, evaluated: Sequence[str]) -> str:
    """Return which recipes have trained on which of the `evaluated` corruptions, in a sentence; empty if none has."""
    recipes = [
        recipe.name
        for recipe in collected.recipes
        if any(SET in phase.views.augmentation_sets for phase in recipe.recipe.in_phases().values())
    ]
    if not recipes or collected.augmentation is None:
        return ""
    made = (read_result(AugmentationMetrics, collected.augmentation / "metrics.json").model_extra or {})[SET]
    seen = [name for name in evaluated if name in made]
    if not seen:
        return f"{', '.join(recipes)} trained on corrupted images too, but on none of these corruptions."
    return f"{', '.join(recipes)} trained on images with {', '.join(seen)}, so these were not unseen."
