"""The table of recipes and what they were evaluated on."""

from __future__ import annotations

from nofrost.report import cells, text
from nofrost.report.compare import Estimate, best_recipe, estimate_mean
from nofrost.report.document import Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import WORST_CASE, Collected, RecipeRuns


def results(collected: Collected) -> Section:
    """Return the main table, and every run with its exact counts."""
    suite = collected.study.suites.adversarial
    protocol = Paragraph(
        f"Protocol {suite.protocol}: {text.PROTOCOLS[suite.protocol]}. An image counts under {WORST_CASE} when no "
        "attack of the suite breaks it; an image that is wrong without an attack counts as wrong everywhere."
        f"{_in_a_cascade(collected)}"
    )
    return Section("results", "Results", "Results", [protocol, _by_recipe(collected), _by_run(collected)])


def _columns(collected: Collected) -> list[Column]:
    suite = collected.study.suites.adversarial
    group = f"{suite.title} · protocol {suite.protocol} · {cells.threat(collected)}"
    ood = collected.study.suites.ood.title
    attacks = [Column(collected.title(condition), group) for condition in collected.conditions[1:]]
    return [Column("clean"), *attacks, Column("mean accuracy", ood)]


def _in_a_cascade(collected: Collected) -> str:
    if not collected.cumulative:
        return ""
    return (
        f" The accuracies under {text.listed(map(collected.title, collected.cumulative))} are cumulative: the attacks "
        "ran as a cascade, each on the images that all before it had left right, as AutoAttack does. Such a column "
        "says what withstands that attack and all to its left, not how strong the attack is alone."
    )


def _by_recipe(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    best = {condition: best_recipe(collected, condition) for condition in collected.conditions}
    rows = [
        [
            cells.recipe_cell(recipe, titled=True),
            *(
                cells.estimate_cell(
                    _measured(recipe, condition),
                    decimals,
                    best[condition] == recipe.name,
                    cells.doubt(recipe.runs, condition),
                )
                for condition in collected.conditions
            ),
            cells.estimate_cell(ood_mean(recipe), decimals),
            cells.alarm_cell(alarm for run in recipe.runs for alarm in run.adversarial.alarms),
        ]
        for recipe in collected.recipes
    ]
    columns = [Column("recipe", text=True), *_columns(collected), Column("alarms", text=True)]
    return Table(f"{cells.basis(collected)} {_explanation(collected)}", columns, rows)


def _explanation(collected: Collected) -> str:
    sentences = []
    if any(run.adversarial.not_converged for run in collected.runs):
        sentences.append("Where an accuracy is marked as not converged, more attack steps were seen to lower it.")
    if len(collected.study.runs.seed) == 1:
        sentences.append("The interval of the out-of-distribution mean counts images, not their corrupted versions.")
    if not collected.same_images:
        sentences.append("The recipes were attacked on different images, so no value is marked as best.")
    elif len(collected.recipes) > 1:
        sentences.append(
            "★ marks a value that is separated from every other of its column (exact McNemar test on the same images, "
            "p < 0.05 after Holm's correction for all pairs); without ★ the highest value may lead by chance. "
            "Out of distribution no test is made: a mean over corruptions is not one answer for each image."
        )
    return " ".join(sentences)


def _measured(recipe: RecipeRuns, condition: str) -> Estimate:
    return cells.over_seeds(recipe, lambda run: run.adversarial.accuracy[condition])


def ood_mean(recipe: RecipeRuns) -> Estimate:
    """Return the mean accuracy over all corruptions of a recipe."""
    return estimate_mean([run.ood for run in recipe.runs])


def _by_run(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    rows = [
        [
            cells.run_cell(recipe, run),
            *(
                cells.share_cell(run.adversarial.accuracy[name], decimals, cells.doubt([run], name))
                for name in collected.conditions
            ),
            Cell(text.percent(run.ood.mean_accuracy, decimals), f"{run.ood.samples} images"),
        ]
        for recipe in collected.recipes
        for run in recipe.runs
    ]
    caption = (
        "Accuracy in % of every run, the images that were right of all that were tried, and the 95 % Wilson interval."
    )
    columns = [Column("run", text=True), *_columns(collected)]
    return Table(caption, columns, rows, summary="Every run with exact counts")
