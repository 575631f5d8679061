"""Training: curves, overfitting, what a step did, and the cost."""

from collections.abc import Iterator
from typing import Any

from nofrost.config import Recipe
from nofrost.report import cells, figures, text
from nofrost.report.document import AlarmCard, Alarms, Block, Cell, Column, Figure, Panel, Paragraph, Section, Table
from nofrost.report.runs import Collected, RecipeRuns, Run
from nofrost.report.sections.alarms import over_seeds
from nofrost.results import Alarm, CatastrophicOverfitting, Proportion, RobustOverfitting, StepRecord


def training(collected: Collected) -> Section:
    """Return the curves of every training, what they show of overfitting, and what a step did."""
    blocks: list[Block] = [_curves(collected), *overfitting(collected), _steps(collected)]
    return Section("training", "Training", "Training", blocks)


def _curves(collected: Collected) -> Figure:
    pairs = [(recipe, run) for recipe in collected.recipes for run in recipe.runs]
    drawings = figures.training_panels([(recipe.position, run.train.best_epoch, run.curves) for recipe, run in pairs])
    panels = [
        Panel(f"{run.recipe}, seed {run.seed}", svg, _in_words(run), recipe.position)
        for (recipe, run), svg in zip(pairs, drawings, strict=True)
    ]
    images = sorted({clean.total for run in collected.runs if (clean := run.train.selection.clean)})
    above = "Above: training loss by epoch (objectives differ between recipes, so compare shapes, not heights). Below: "
    trained = "on the training images under the training attack (dashed line)"
    if not images:
        caption = (
            f"{above}accuracy in % {trained}. The dataset has no selection split, so the vertical line marks the last "
            f"epoch, whose checkpoint was kept.{_of_phases(collected)}"
        )
        return Figure(caption, panels)
    caption = (
        f"{above}accuracy in % on {' or '.join(map(text.count, images))} images of the selection split, clean "
        f"(unbroken line, circles) and attacked (dotted line, squares), and {trained}: overfitting opens a gap between "
        "the two attacked curves. The vertical line marks the epoch whose checkpoint was kept."
        f"{_of_phases(collected)} The selection split is cut from the training images; no checkpoint was selected on "
        "test images."
    )
    return Figure(caption, panels)


def _of_phases(collected: Collected) -> str:
    phases = any(len({epoch.phase for epoch in run.curves}) > 1 for run in collected.runs)
    return " Dashed vertical lines separate the phases of a training." if phases else ""


def _in_words(run: Run) -> str:
    best = next((epoch for epoch in run.curves if epoch.epoch == run.train.best_epoch), None)
    epochs = f"{text.plural(run.train.epochs, 'epoch')}, epoch {run.train.best_epoch} kept"
    words = f"Training curves of {run.recipe}, seed {run.seed}: {epochs}"
    phases = list(dict.fromkeys(epoch.phase for epoch in run.curves))
    if len(phases) > 1:
        words += f", phases {text.listed(phases)}"
    if best is not None and best.selection_clean is not None:
        words += f", selection accuracy {text.with_sign(best.selection_clean)} clean"
    if best is not None and best.selection_attacked is not None:
        words += f" and {text.with_sign(best.selection_attacked)} attacked"
    if best is not None and best.train_adversarial is not None:
        words += f", on the training adversary {text.with_sign(best.train_adversarial)}"
    return f"{words}."


def cost(collected: Collected) -> Section:
    """Return what each training cost and which checkpoint was kept."""
    decimals = cells.digits(collected)
    rows = [
        [
            cells.run_cell(recipe, run),
            Cell(text.count(run.train.parameters)),
            Cell(text.count(run.train.training_images)),
            Cell(str(run.train.epochs)),
            Cell(f"{run.train.best_epoch}{', last' if recipe.recipe.selection.keep == 'last' else ''}"),
            _proportion(run.train.selection.clean, decimals),
            _proportion(run.train.selection.attacked, decimals),
            Cell(text.duration(run.timing.seconds)),
            Cell(text.count(round(run.timing.images_per_second))),
            Cell(text.percent(run.timing.data_wait, 0)),
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
        Column("waits for data"),
        Column("device", text=True),
    ]
    caption = (
        "One row for each training. Selection: accuracy in % of the kept checkpoint on the selection split, if there "
        "is one, with its 95 % Wilson interval; it is optimistic, because the epoch was selected by it, unless the "
        "recipe keeps the last epoch. Time: of the complete training on this device, including attacks. Waits for "
        "data: the share of the time of its steps in which it waited for images to be read and decoded."
    )
    return Section("cost", "Cost of training", "Cost", [Table(caption, columns, rows)])


def _proportion(share: Proportion | None, decimals: int) -> Cell:
    return Cell("none") if share is None else cells.proportion_cell(share, decimals)


def overfitting(collected: Collected) -> list[Block]:
    """Return the checks of every recipe that was trained against an adversary; nothing when there is none."""
    cards = [
        AlarmCard(recipe.name, recipe.position, alarms)
        for recipe in collected.recipes
        if (alarms := over_seeds(recipe, lambda run: list(_overfitting_alarms(run))))
    ]
    if not cards:
        return []
    introduction = Paragraph(
        "Adversarial training overfits in two ways. Catastrophic: within an epoch or two a model learns to defeat its "
        "own adversary and loses its robustness against others (Wong et al. 2020). Robust: attacked accuracy on new "
        "images passes its best and then falls, while it rises on the training images (Rice et al. 2020). It is "
        "reported only where the 95 % intervals of the best and the last value do not overlap, so small losses go "
        "unnoticed."
    )
    return [introduction, Alarms(cards)]


def has_overfitted(recipe: RecipeRuns[Run]) -> bool:
    """Return whether a training of the recipe overfitted to its adversary, in either way."""
    curves = [run.train.overfitting for run in recipe.runs]
    return any(each.catastrophic is not None or each.robust is not None for each in curves)


def _overfitting_alarms(run: Run) -> Iterator[Alarm]:
    if run.train.selection.attacked is not None:
        yield _catastrophic(run.train.overfitting.catastrophic, run.train.best_epoch)
        yield _robust(run.train.overfitting.robust, run.train.best_epoch)
    if stopped := run.train.stopped_early:
        reason = f"{stopped.reason}: the training ended after epoch {stopped.epoch} of {stopped.epochs}"
        yield Alarm(name="trained-to-the-end", status="warn", reason=reason)


def _catastrophic(fall: CatastrophicOverfitting | None, best_epoch: int) -> Alarm:
    name = "no-catastrophic-overfitting"
    if fall is None:
        reason = "attacked accuracy never collapsed while accuracy on the training adversary held or rose"
        return Alarm(name=name, status="pass", reason=reason)
    reason = (
        f"in epoch {fall.epoch} attacked accuracy on the selection split fell from {text.with_sign(fall.before)} to "
        f"{text.with_sign(fall.after)}, while accuracy on the training adversary went from "
        f"{text.with_sign(fall.train_before)} to {text.with_sign(fall.train_after)}; the checkpoint that was kept is "
    )
    if best_epoch < fall.epoch:
        return Alarm(name=name, status="warn", reason=f"{reason}from epoch {best_epoch}, before the fall")
    return Alarm(name=name, status="fail", reason=f"{reason}from epoch {best_epoch}, after the fall")


def _robust(loss: RobustOverfitting | None, best_epoch: int) -> Alarm:
    name = "no-robust-overfitting"
    if loss is None:
        reason = "attacked accuracy did not end clearly below its best, or accuracy on the training images fell as much"
        return Alarm(name=name, status="pass", reason=reason)
    best, last = (
        f"{text.with_sign(share.accuracy)} ({text.span(share.low, share.high)})" for share in (loss.best, loss.last)
    )
    reason = (
        f"attacked accuracy on {text.count(loss.best.total)} images of the selection split fell from {best} in epoch "
        f"{loss.epoch} to {last} at the end, while accuracy on the training adversary went from "
        f"{text.with_sign(loss.train_best)} to {text.with_sign(loss.train_last)}; the checkpoint that was kept is "
        f"from epoch {best_epoch}"
    )
    return Alarm(name=name, status="warn", reason=reason)


def _steps(collected: Collected) -> Table:
    """Return a row for each recipe and phase."""
    rows = [row for recipe in collected.recipes for row in _rows(recipe)]
    columns = [
        Column("recipe", text=True),
        Column("images", text=True),
        Column("adversary", text=True),
        Column("training", "forward, in mode"),
        Column("evaluation", "forward, in mode"),
        Column("backward"),
        Column("batch-norm updates", text=True),
        Column("weight updates"),
        Column("trained parameters"),
    ]
    caption = (
        "What the first step of each training, or of each of its phases, did, counted while it ran: images in the loss "
        "by view, forward and backward passes of the model with those of the attack, and how often the running "
        "statistics of batch norms (by branch where there are two) and the weights were updated."
    )
    return Table(caption, columns, rows, title="What a step did")


def _rows(recipe: RecipeRuns[Run]) -> list[list[Cell]]:
    run, phases = recipe.runs[0], recipe.recipe.in_phases()
    return [
        [
            _head(recipe, name if len(run.record.steps) > 1 else "", phases.get(name, recipe.recipe)),
            _counted(step.images, _shared(step)),
            Cell(_attack(step.attack)),
            Cell(text.count(step.forward_train)),
            Cell(text.count(step.forward_eval)),
            Cell(text.count(step.backward)),
            _counted(step.batch_norm_updates),
            Cell(text.count(step.updates)),
            Cell(text.count(step.trained_parameters)),
        ]
        for name, step in run.record.steps.items()
    ]


def _head(recipe: RecipeRuns[Run], phase: str, settings: Recipe) -> Cell:
    """Return the header of a row: the recipe, below it its phase and what is not as usual."""
    precision = "" if settings.precision == "float32" else settings.precision
    averaging = settings.optimiser.averaging
    averaged = f"weights averaged, decay {averaging.decay:g}" if averaging else ""
    statistics = settings.model.batch_statistics
    of_images = "all processes" if statistics == "all" else f"{statistics} images"
    grouped = "" if statistics == "process" else f"batch statistics of {of_images}"
    small = "\n".join(filter(None, (phase, precision, averaged, grouped)))
    return Cell(recipe.name, small=small, recipe=recipe.position)


def _counted(numbers: dict[str, int], shared: str = "") -> Cell:
    """Return numbers with their names below; batch norms without branches need no name."""
    names = " + ".join(name for name in numbers if name != "bn")
    return Cell(" + ".join(map(text.count, numbers.values())) or "none", "\n".join(filter(None, (names, shared))))


def _shared(step: StepRecord) -> str:
    shares = f"{step.images_per_rank} in each of {step.world_size} processes" if step.world_size > 1 else ""
    parts = f"in {step.accumulation} micro-batches" if step.accumulation > 1 else ""
    return " ".join(filter(None, (shares, parts)))


def _attack(attack: dict[str, Any] | None) -> str:
    if not attack:
        return "none"
    steps = attack.get("steps")
    return f"{attack.get('name')}, {text.plural(steps, 'step')}" if isinstance(steps, int) else str(attack.get("name"))
