"""Mixture batch normalisation: each branch and the mixture that is deployed."""

from __future__ import annotations

from nofrost.report import cells
from nofrost.report.compare import estimate
from nofrost.report.document import Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import Collected, RecipeRuns


def branches(collected: Collected) -> Section | None:
    """Return the accuracies of the branches, or None when no model has any."""
    mixtures = [recipe for recipe in collected.recipes if all(run.adversarial.branches for run in recipe.runs)]
    if not mixtures:
        return None
    measured = [shares for recipe in mixtures for run in recipe.runs for shares in run.adversarial.branches.values()]
    conditions = [condition for condition in collected.conditions if all(condition in shares for shares in measured)]
    rows = [row for recipe in mixtures for row in _rows(recipe, conditions, cells.digits(collected))]
    table = Table(cells.basis(collected), [Column("recipe and branch", text=True), *map(Column, conditions)], rows)
    introduction = Paragraph(
        "A mixture batch normalisation keeps statistics of clean and of adversarial images apart. At test time nobody "
        "knows which kind an image is: the mixture is what is deployed and what all other tables show. Each row was "
        "attacked on its own."
    )
    return Section("branches", "Branches of mixture batch normalisation", "Branches", [introduction, table])


def _rows(recipe: RecipeRuns, conditions: list[str], decimals: int) -> list[list[Cell]]:
    measured = [run.adversarial for run in recipe.runs]
    shares = {
        f"{name} branch": [run.branches[name] for run in measured]
        for name in measured[0].branches
        if all(name in run.branches for run in measured)
    }
    weight = recipe.recipe.model.mixture_weight
    shares[f"deployed mixture (adversarial weight {weight:g})"] = [run.accuracy for run in measured]
    return [
        [
            Cell(recipe.name, title, recipe=recipe.position),
            *(cells.estimate_cell(estimate([run[name] for run in of_runs]), decimals) for name in conditions),
        ]
        for title, of_runs in shares.items()
    ]
