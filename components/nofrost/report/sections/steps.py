"""What a step of each training did, as its record witnessed it."""

from __future__ import annotations

from typing import Any

from nofrost.config import Recipe
from nofrost.report import text
from nofrost.report.document import Block, Cell, Column, Table
from nofrost.report.runs import Collected, RecipeRuns
from nofrost.results import StepRecord


def steps(collected: Collected) -> list[Block]:
    """Return a row for each recipe and phase; nothing when no training recorded its steps."""
    rows = [row for recipe in collected.recipes for row in _rows(recipe)]
    if not rows:
        return []
    columns = [
        Column("recipe", text=True),
        Column("images", text=True),
        Column("adversary", text=True),
        Column("training", "forward, in mode"),
        Column("evaluation", "forward, in mode"),
        Column("backward"),
        Column("batch-norm updates", text=True),
        Column("weight updates"),
        Column("parameters that move"),
    ]
    caption = (
        "What the first step of each training did, and of each of its phases, counted while it ran: images behind the "
        "losses by kind, passes of the model forward and backward with those of the attack, how often the running "
        "statistics of batch norms moved (by branch where there are two), and how often the weights did."
    )
    return [Table(caption, columns, rows, title="What a step did")]


def _rows(recipe: RecipeRuns) -> list[list[Cell]]:
    run, phases = recipe.runs[0], recipe.recipe.in_phases()
    return [
        [
            _head(recipe, name if len(run.record.steps) > 1 else "", phases.get(name, recipe.recipe)),
            _counted(step.images, _shared(step)),
            Cell(_attack(step.attack)),
            _number(step.forward_train),
            _number(step.forward_eval),
            _number(step.backward),
            _counted(step.batch_norm_updates),
            _number(step.updates),
            _number(step.trained_parameters),
        ]
        for name, step in run.record.steps.items()
    ]


def _head(recipe: RecipeRuns, phase: str, settings: Recipe) -> Cell:
    """Return the header of a row: below the recipe its phase, and what differs from float32 and plain weights."""
    precision = "" if settings.precision == "float32" else settings.precision
    averaging = settings.optimiser.averaging
    averaged = f"weights averaged, decay {averaging.decay:g}" if averaging else ""
    small = "\n".join(filter(None, (phase, precision, averaged)))
    return Cell(recipe.name, small=small, recipe=recipe.position)


def _number(value: int | None) -> Cell:
    return Cell("" if value is None else text.count(value))


def _counted(numbers: dict[str, int], shared: str = "") -> Cell:
    """Return numbers with their kinds below; batch norms without a mixture are of one kind, which needs no name."""
    kinds = " + ".join(kind for kind in numbers if kind != "bn")
    return Cell(" + ".join(map(text.count, numbers.values())) or "none", "\n".join(filter(None, (kinds, shared))))


def _shared(step: StepRecord) -> str:
    return f"{step.images_per_rank} in each of {step.world_size} processes" if step.world_size > 1 else ""


def _attack(attack: dict[str, Any] | None) -> str:
    if not attack:
        return "none"
    steps = attack.get("steps")
    return f"{attack.get('name')}, {text.plural(steps, 'step')}" if isinstance(steps, int) else str(attack.get("name"))
