"""Corruptions that recipes of a study have trained on: their accuracy on these is not one on unseen corruptions."""

from collections.abc import Iterable, Sequence

from nofrost.report import text
from nofrost.report.runs import Run, StudyRuns


def trained_corruptions(study: StudyRuns[Run], evaluated: Sequence[str]) -> str:
    """Return which recipes have trained on which of the `evaluated` corruptions, in sentences; empty if none has.

    What a run has trained on stands in the record of its training.
    """
    trained = {
        recipe.name: {name for run in recipe.runs for name in run.record.corruptions} for recipe in study.recipes
    }
    seen = {recipe: tuple(name for name in evaluated if name in names) for recipe, names in trained.items() if names}
    sentences = []
    for corruptions in dict.fromkeys(seen.values()):
        recipes = text.listed(_with(seen, corruptions))
        if corruptions:
            sentences.append(f"{recipes} trained on images with {text.listed(corruptions)}, so these were not unseen.")
        else:
            sentences.append(f"{recipes} trained on corrupted images too, but on none of these corruptions.")
    return " ".join(sentences)


def _with(seen: dict[str, tuple[str, ...]], corruptions: tuple[str, ...]) -> Iterable[str]:
    return (recipe for recipe, each in seen.items() if each == corruptions)
