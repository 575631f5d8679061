"""How the trainings went, what a step of theirs did, and what they cost."""

from __future__ import annotations

from nofrost.report import cells, figures, text
from nofrost.report.document import Block, Cell, Column, Figure, Panel, Section, Table
from nofrost.report.runs import Collected, Run
from nofrost.report.sections.overfitting import overfitting
from nofrost.report.sections.steps import steps
from nofrost.results import Proportion


def training(collected: Collected) -> Section:
    """Return the curves of every training, what they show of overfitting, and what a step did."""
    blocks: list[Block] = [_curves(collected), *overfitting(collected), *steps(collected)]
    return Section("training", "Training", "Training", blocks)


def _curves(collected: Collected) -> Figure:
    pairs = [(recipe, run) for recipe in collected.recipes for run in recipe.runs]
    drawings = figures.training_panels([(recipe.position, run.train.best_epoch, run.curves) for recipe, run in pairs])
    panels = [
        Panel(f"{run.recipe}, seed {run.seed}", svg, _in_words(run), recipe.position)
        for (recipe, run), svg in zip(pairs, drawings, strict=True)
    ]
    images = sorted({run.train.selection.clean.total for run in collected.runs})
    caption = (
        "Above: training loss by epoch (objectives differ between recipes, so compare shapes, not heights). Below: "
        f"accuracy in % on {' or '.join(map(text.count, images))} images of the selection split, clean (unbroken line, "
        "circles) and attacked (dotted line, squares), and on the training images as their own adversary made them "
        "(dashed line): overfitting opens a gap between the two attacked curves. The vertical line marks the epoch "
        f"whose checkpoint was kept.{_of_phases(collected)} The selection split is cut from the training images; no "
        "choice was made on test images."
    )
    return Figure(caption, panels)


def _of_phases(collected: Collected) -> str:
    phases = any(len({epoch.phase for epoch in run.curves}) > 1 for run in collected.runs)
    return " Dashed vertical lines part the phases of a training." if phases else ""


def _in_words(run: Run) -> str:
    chosen = next((epoch for epoch in run.curves if epoch.epoch == run.train.best_epoch), None)
    epochs = f"{text.plural(run.train.epochs, 'epoch')}, epoch {run.train.best_epoch} kept"
    words = f"Training curves of {run.recipe}, seed {run.seed}: {epochs}"
    phases = list(dict.fromkeys(epoch.phase for epoch in run.curves if epoch.phase is not None))
    if len(phases) > 1:
        words += f", phases {text.listed(phases)}"
    if chosen is not None and chosen.selection_clean is not None:
        words += f", selection accuracy {text.with_sign(chosen.selection_clean)} clean"
    if chosen is not None and chosen.selection_attacked is not None:
        words += f" and {text.with_sign(chosen.selection_attacked)} attacked"
    if chosen is not None and chosen.train_adversarial is not None:
        words += f", on the training adversary {text.with_sign(chosen.train_adversarial)}"
    return f"{words}."


def cost(collected: Collected) -> Section:
    """Return what each training cost and what was chosen."""
    decimals = cells.digits(collected)
    rows = [
        [
            cells.run_cell(recipe, run),
            Cell(text.count(run.train.parameters)),
            Cell(text.count(run.train.training_images)),
            Cell(str(run.train.epochs)),
            Cell(str(run.train.best_epoch)),
            _selected(run.train.selection.clean, decimals),
            _selected(run.train.selection.attacked, decimals),
            Cell(text.duration(run.timing.seconds)),
            Cell(text.count(round(run.timing.images_per_second))),
            Cell(run.timing.device),
        ]
        for recipe in collected.recipes
        for run in recipe.runs
    ]
    columns = [
        Column("run", text=True),
        Column("parameters"),
        Column("training images"),
        Column("epochs"),
        Column("kept epoch"),
        Column("clean", "selection split"),
        Column("attacked", "selection split"),
        Column("time"),
        Column("images / s"),
        Column("device", text=True),
    ]
    caption = (
        "One row for each training. Selection: accuracy in % of the kept checkpoint on the selection split with its "
        "95 % Wilson interval; it is optimistic, as the epoch was chosen by it. Time is that of the whole training on "
        "the device named, with the attacks in it."
    )
    return Section("cost", "Cost of training", "Cost", [Table(caption, columns, rows)])


def _selected(share: Proportion | None, decimals: int) -> Cell:
    return Cell("none") if share is None else cells.share_cell(share, decimals)
