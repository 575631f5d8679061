"""Mixture batch normalisation: each branch and the mixture that is deployed."""

from __future__ import annotations

from nofrost.config import ModelSpec
from nofrost.report import cells
from nofrost.report.compare import estimate
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import Collected, RecipeRuns

THROUGH = "through-"  # conditions of images that were made against one branch and shown to the mixture


def branches(collected: Collected) -> Section | None:
    """Return the accuracies of the branches, or None when no model has any."""
    mixtures = [recipe for recipe in collected.recipes if all(run.adversarial.branches for run in recipe.runs)]
    if not mixtures:
        return None
    measured = [shares for recipe in mixtures for run in recipe.runs for shares in run.adversarial.branches.values()]
    conditions = [condition for condition in collected.conditions if all(condition in shares for shares in measured)]
    rows = [row for recipe in mixtures for row in _rows(recipe, conditions, cells.digits(collected))]
    columns = [Column("recipe and branch", text=True), *(Column(collected.title(name)) for name in conditions)]
    table = Table(cells.basis(collected), columns, rows)
    introduction = Paragraph(
        "A mixture batch normalisation keeps statistics of clean and of adversarial images apart. At test time nobody "
        "knows which kind an image is: the mixture is what is deployed and what all other tables show. Each row was "
        "attacked on its own."
        + (" The attacks of a branch are a cascade of their own." if collected.cumulative else "")
    )
    blocks: list[Block] = [introduction, table, *_through_branches(collected, mixtures)]
    return Section("branches", "Branches of mixture batch normalisation", "Branches", blocks)


def _through_branches(collected: Collected, mixtures: list[RecipeRuns]) -> list[Table]:
    """Return what the deployed mixture withstands of attackers who see one branch alone; none if it was not tried."""
    measured = [run.adversarial.accuracy for recipe in mixtures for run in recipe.runs]
    conditions = [name for name in measured[0] if name.startswith(THROUGH) and all(name in each for each in measured)]
    if not conditions:
        return []
    decimals = cells.digits(collected)

    def measure(recipe: RecipeRuns, name: str) -> Cell:
        return cells.estimate_cell(cells.over_seeds(recipe, lambda run: run.adversarial.accuracy[name]), decimals)

    rows = [[cells.recipe_cell(recipe), *(measure(recipe, name) for name in conditions)] for recipe in mixtures]
    columns = [
        Column("recipe", text=True),
        *(Column(name.removeprefix(THROUGH).replace("-", " ")) for name in conditions),
    ]
    caption = (
        "The deployed mixture on images that the attacks of the branches made against one branch alone; the worst case "
        f"counts these too. {cells.basis(collected)}"
    )
    return [Table(caption, columns, rows, title="Attacked through one branch")]


def _deployed(model: ModelSpec) -> str:
    where = {"logits": "of logits", "all": "in all layers", "random": f"in {model.mixture_share:.0%} of the layers"}
    return f"{where[model.mixture_inference]}, adversarial weight {model.mixture_weight:g}"


def _rows(recipe: RecipeRuns, conditions: list[str], decimals: int) -> list[list[Cell]]:
    measured = [run.adversarial for run in recipe.runs]
    shares = {
        f"{name} branch": [run.branches[name] for run in measured]
        for name in measured[0].branches
        if all(name in run.branches for run in measured)
    }
    shares[f"deployed mixture ({_deployed(recipe.recipe.model)})"] = [run.accuracy for run in measured]
    return [
        [
            Cell(recipe.name, title, recipe=recipe.position),
            *(cells.estimate_cell(estimate([run[name] for run in of_runs]), decimals) for name in conditions),
        ]
        for title, of_runs in shares.items()
    ]
