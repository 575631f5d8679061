"""The tables of accuracies: recipes, and their branches."""

from nofrost.config import ModelSpec
from nofrost.report import cells, text
from nofrost.report.compare import best_of, best_recipe, compare_on_corruptions, estimate, estimate_mean
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import WORST_CASE, Collected, RecipeRuns

# The prefix of conditions whose images were made against one branch and shown to the mixture.
THROUGH = "through-"


def results(collected: Collected) -> Section:
    """Return the main table, and every run with its exact counts."""
    suite = collected.study.suites.adversarial
    protocol = Paragraph(
        f"Protocol {suite.protocol}: {text.PROTOCOLS[suite.protocol]}. An image counts under {WORST_CASE} when no "
        "attack of the suite breaks it; an image that is wrong without an attack counts as wrong everywhere."
        f"{_in_a_cascade(collected)}{_by_batch(collected)}"
    )
    return Section("results", "Results", "Results", [protocol, _by_recipe(collected), _by_run(collected)])


def _columns(collected: Collected) -> list[Column]:
    suite = collected.study.suites.adversarial
    group = f"{suite.title} · protocol {suite.protocol} · {cells.threat(collected)}"
    attacks = [Column(collected.title(condition), group) for condition in collected.conditions[1:]]
    ood = [Column("mean accuracy", collected.study.suites.ood.title)] if collected.first.ood.mean else []
    return [Column("clean"), *attacks, *ood]


def _in_a_cascade(collected: Collected) -> str:
    if not collected.cumulative:
        return ""
    return (
        f" The accuracies under {text.listed(map(collected.title, collected.cumulative))} are cumulative: the attacks "
        "ran as a cascade, each on the images that survived all before it, as AutoAttack does. Such a column shows "
        "what survives that attack and all to its left, not how strong the attack is alone."
    )


def _by_batch(collected: Collected) -> str:
    if not any(run.protocol.batch_statistics for run in collected.runs):
        return ""
    return (
        f" Batch norms took the statistics of each batch of {collected.first.protocol.batch_size} test images instead "
        "of their running ones, so that the answer for an image depends on the others: these numbers belong to this "
        "order and batch size."
    )


def _by_recipe(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    best = {condition: best_recipe(collected, condition) for condition in collected.conditions}
    best_ood = best_of(collected, compare_on_corruptions(collected))
    rows = [
        [
            cells.recipe_cell(recipe, titled=True),
            *(
                cells.estimate_cell(
                    cells.accuracy(recipe, condition),
                    decimals,
                    best[condition] == recipe.name,
                    cells.doubt(recipe.runs, condition),
                )
                for condition in collected.conditions
            ),
            *_ood_cells(recipe, decimals, best_ood),
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
    if len(collected.study.runs.seed) == 1 and collected.first.ood.mean:
        sentences.append("The interval of the out-of-distribution mean counts images, not their corrupted versions.")
    if not collected.same_images:
        sentences.append("The recipes were attacked on different images, so no value is marked as best.")
    elif len(collected.recipes) > 1:
        sentences.append(
            "★ marks a value that is separated from every other of its column (exact McNemar test on the same images, "
            "p < 0.05 after Holm's correction for all pairs; for a mean over corruptions Student's paired test over "
            "images); without ★ the highest value may lead by chance."
        )
    return " ".join(sentences)


def _ood_cells(recipe: RecipeRuns, decimals: int, best: str | None) -> list[Cell]:
    """Return the mean accuracy over corruptions of the suite; nothing for a suite without any."""
    means = [mean for run in recipe.runs if (mean := run.ood.mean)]
    return [cells.estimate_cell(estimate_mean(means), decimals, best == recipe.name)] if means else []


def _by_run(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    rows = [
        [
            cells.run_cell(recipe, run),
            *(
                cells.proportion_cell(run.adversarial.accuracy[name], decimals, cells.doubt([run], name))
                for name in collected.conditions
            ),
            *(
                [Cell(text.percent(mean.mean_accuracy, decimals), f"{run.ood.samples} images")]
                if (mean := run.ood.mean)
                else []
            ),
        ]
        for recipe in collected.recipes
        for run in recipe.runs
    ]
    caption = "Accuracy in % of every run, the number of images that were right of all, and the 95 % Wilson interval."
    columns = [Column("run", text=True), *_columns(collected)]
    return Table(caption, columns, rows, summary="Every run with exact counts")


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
        "A mixture batch normalisation keeps separate statistics for clean and for adversarial images. At test time "
        "it is not known which of the two an image is, so the mixture is deployed, and all other tables show it. Each "
        "row was attacked separately."
        + (" The attacks of a branch are a cascade of their own." if collected.cumulative else "")
    )
    blocks: list[Block] = [introduction, table, *_through_branches(collected, mixtures)]
    return Section("branches", "Branches of mixture batch normalisation", "Branches", blocks)


def _through_branches(collected: Collected, mixtures: list[RecipeRuns]) -> list[Table]:
    """Return the accuracy of the deployed mixture under attacks on one branch alone; nothing if it was not measured."""
    measured = [run.adversarial.accuracy for recipe in mixtures for run in recipe.runs]
    conditions = [name for name in measured[0] if name.startswith(THROUGH) and all(name in each for each in measured)]
    if not conditions:
        return []
    decimals = cells.digits(collected)
    rows = [
        [
            cells.recipe_cell(recipe),
            *(cells.estimate_cell(cells.accuracy(recipe, name), decimals) for name in conditions),
        ]
        for recipe in mixtures
    ]
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
    accuracies = {
        f"{name} branch": [run.branches[name] for run in measured]
        for name in measured[0].branches
        if all(name in run.branches for run in measured)
    }
    accuracies[f"deployed mixture ({_deployed(recipe.recipe.model)})"] = [run.accuracy for run in measured]
    return [
        [
            Cell(recipe.name, title, recipe=recipe.position),
            *(cells.estimate_cell(estimate([run[name] for run in runs]), decimals) for name in conditions),
        ]
        for title, runs in accuracies.items()
    ]
