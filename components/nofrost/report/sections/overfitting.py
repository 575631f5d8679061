"""What the curves of the trainings show of overfitting."""

from __future__ import annotations

from collections.abc import Iterator

from nofrost.report import text
from nofrost.report.document import AlarmCard, Alarms, Block, Paragraph
from nofrost.report.runs import Collected, RecipeRuns, Run
from nofrost.report.sections.alarms import of_all_seeds
from nofrost.results import Alarm, CatastrophicOverfitting, RobustOverfitting


def overfitting(collected: Collected) -> list[Block]:
    """Return the findings of every recipe that was trained against an adversary; nothing when there is none."""
    cards = [
        AlarmCard(recipe.name, recipe.position, found)
        for recipe in collected.recipes
        if (found := of_all_seeds(recipe, lambda run: list(_found(run))))
    ]
    if not cards:
        return []
    introduction = Paragraph(
        "Adversarial training overfits in two ways. Catastrophic: within an epoch or two a model learns to defeat its "
        "own adversary and loses its robustness against others (Wong et al. 2020). Robust: attacked accuracy on new "
        "images passes its best and then falls, while it rises on the training images (Rice et al. 2020); it is found "
        "here where the 95 % intervals of the best and the last do not meet, which leaves small losses unseen."
    )
    return [introduction, Alarms(cards)]


def has_overfitted(recipe: RecipeRuns) -> bool:
    """Return whether a training of the recipe did so in one way or the other."""
    found = [run.train.overfitting for run in recipe.runs if run.train.overfitting is not None]
    return any(each.catastrophic is not None or each.robust is not None for each in found)


def _found(run: Run) -> Iterator[Alarm]:
    found = run.train.overfitting
    if found is not None and run.train.selection.attacked is not None:
        yield _catastrophic(found.catastrophic, run.train.best_epoch)
        yield _robust(found.robust, run.train.best_epoch)
    if stopped := run.train.stopped_early:
        reason = f"{stopped.reason}: the training ended after epoch {stopped.epoch} of {stopped.epochs}"
        yield Alarm(name="trained-to-the-end", status="warn", reason=reason)


def _catastrophic(found: CatastrophicOverfitting | None, kept: int) -> Alarm:
    name = "no-catastrophic-overfitting"
    if found is None:
        reason = "attacked accuracy never collapsed while accuracy on the training adversary kept or rose"
        return Alarm(name=name, status="pass", reason=reason)
    reason = (
        f"in epoch {found.epoch} attacked accuracy on the selection split fell from {text.with_sign(found.before)} to "
        f"{text.with_sign(found.after)}, while accuracy on the training adversary went from "
        f"{text.with_sign(found.train_before)} to {text.with_sign(found.train_after)}; the checkpoint that was kept is "
    )
    if kept < found.epoch:
        return Alarm(name=name, status="warn", reason=f"{reason}from epoch {kept}, before the fall")
    return Alarm(name=name, status="fail", reason=f"{reason}from epoch {kept}, after the fall")


def _robust(found: RobustOverfitting | None, kept: int) -> Alarm:
    name = "no-robust-overfitting"
    if found is None:
        reason = "attacked accuracy did not end clearly below its best, or accuracy on the training images fell as much"
        return Alarm(name=name, status="pass", reason=reason)
    best, last = (
        f"{text.with_sign(share.accuracy)} ({text.span(share.low, share.high)})" for share in (found.best, found.last)
    )
    reason = (
        f"attacked accuracy on {text.count(found.best.total)} images of the selection split fell from {best} in epoch "
        f"{found.epoch} to {last} at the end, while accuracy on the training adversary went from "
        f"{text.with_sign(found.train_best)} to {text.with_sign(found.train_last)}; the checkpoint that was kept is "
        f"from epoch {kept}"
    )
    return Alarm(name=name, status="warn", reason=reason)
