"""The tables of accuracies: recipes, and their branches."""

from dataclasses import replace

from nofrost.config import ModelSpec
from nofrost.report import cells, text
from nofrost.report.compare import best_of, best_recipe, compare_on_corruptions, estimate, estimate_mean
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.protocol import protocol
from nofrost.report.runs import CLEAN, WORST_CASE, Attacked, AttackedRun, Collected, RecipeRuns, Shifted, ShiftedRun

# The prefix of conditions whose images were made against one branch and shown to the mixture.
THROUGH = "through-"


def results(collected: Collected) -> Section:
    """Return the main table, and every run with its exact counts."""
    blocks: list[Block] = [_protocol(attacked) for attacked in collected.attacked]
    for part in collected.by_dataset:
        title = part.recipes[0].dataset
        blocks += [replace(_by_recipe(part), title=title), _by_run(part, title)]
    return Section("results", "Results", "Results", blocks)


def _protocol(attacked: Attacked) -> Paragraph:
    return Paragraph(
        f"Protocol {protocol(attacked.suite, attacked.heading)}. An image counts under {WORST_CASE} when no attack of "
        "the suite breaks it; "
        f"an image that is wrong without an attack counts as wrong everywhere.{_in_a_cascade(attacked)}"
        f"{_by_batch(attacked)}"
    )


def _columns(collected: Collected) -> list[Column]:
    columns = []
    for attacked in collected.attacked:
        suite = attacked.suite
        group = f"{attacked.title_of_suite} · protocol {suite.protocol} · {cells.threat(attacked)}"
        columns.append(Column(CLEAN, group if attacked.heading else ""))
        columns += [Column(attacked.title(condition), group) for condition in attacked.conditions[1:]]
    for shifted in collected.shifted:
        title = shifted.title_of_suite
        columns += [Column(CLEAN, title)] if _shows_clean(collected) else []
        columns += [Column("mean accuracy", title)] if shifted.first.ood.mean else []
    return columns


def _shows_clean(collected: Collected) -> bool:
    """Return whether the table has a column for the clean images of an ood suite: no adversarial suite has one."""
    return not collected.attacked


def _in_a_cascade(attacked: Attacked) -> str:
    if not attacked.cumulative:
        return ""
    return (
        f" The accuracies under {text.listed(map(attacked.title, attacked.cumulative))} are cumulative: the attacks "
        "ran as a cascade, each on the images that survived all before it, as AutoAttack does. Such a column shows "
        "what survives that attack and all to its left, not how strong the attack is alone."
    )


def _by_batch(attacked: Attacked) -> str:
    if not any(run.protocol.batch_statistics for run in attacked.runs):
        return ""
    return (
        f" Batch norms took the statistics of each batch of {attacked.first.protocol.batch_size} test images instead "
        "of their running ones, so that the answer for an image depends on the others: these numbers belong to this "
        "order and batch size."
    )


def _by_recipe(collected: Collected) -> Table:
    attacked_cells = [_attacked_cells(attacked) for attacked in collected.attacked]
    ood_cells = [_ood_cells(collected, shifted) for shifted in collected.shifted]
    rows = [
        [
            cells.recipe_cell(recipe, titled=True),
            *(cell for by_recipe in (*attacked_cells, *ood_cells) for cell in by_recipe[recipe.name]),
            *_alarm_cells(collected, recipe.name),
        ]
        for recipe in collected.recipes
    ]
    alarms = [Column("alarms", text=True)] if collected.attacked else []
    columns = [Column("recipe", text=True), *_columns(collected), *alarms]
    return Table(f"{_basis(collected)} {_explanation(collected)}", columns, rows)


def _basis(collected: Collected) -> str:
    """Return the sentence that says on what the accuracies were measured, for each suite that has other images."""
    sentences = [cells.basis(attacked) for attacked in collected.attacked]
    sentences = sentences or [
        f"Accuracy in % on {text.plural(shifted.samples, 'test image')} of {shifted.manifest.name}; "
        f"{cells.spread(shifted)}."
        for shifted in collected.shifted
    ]
    return " ".join(dict.fromkeys(sentences))


def _attacked_cells(attacked: Attacked) -> dict[str, list[Cell]]:
    """Return the accuracies under each condition, by recipe."""
    decimals = cells.digits(attacked)
    best = {condition: best_recipe(attacked, condition) for condition in attacked.conditions}
    return {
        recipe.name: [
            cells.estimate_cell(
                cells.accuracy(recipe, condition),
                decimals,
                best[condition] == recipe.name,
                cells.doubt(recipe.runs, condition),
            )
            for condition in attacked.conditions
        ]
        for recipe in attacked.recipes
    }


def _ood_cells(collected: Collected, shifted: Shifted) -> dict[str, list[Cell]]:
    """Return by recipe the mean accuracy over all corruptions of a suite, if it has any."""
    decimals, best = cells.digits(shifted), best_of(shifted.recipes, compare_on_corruptions(shifted))
    found: dict[str, list[Cell]] = {}
    for recipe in shifted.recipes:
        row = found.setdefault(recipe.name, [])
        if _shows_clean(collected):
            row.append(cells.estimate_cell(estimate([run.ood.clean for run in recipe.runs]), decimals))
        means = [mean for run in recipe.runs if (mean := run.ood.mean)]
        if means:
            row.append(cells.estimate_cell(estimate_mean(means), decimals, best == recipe.name))
    return found


def _alarm_cells(collected: Collected, name: str) -> list[Cell]:
    """Return a badge for all alarms of a recipe; nothing in a study without adversarial suites."""
    alarms = [
        alarm
        for attacked in collected.attacked
        for recipe in attacked.recipes
        if recipe.name == name
        for run in recipe.runs
        for alarm in run.adversarial.alarms
    ]
    return [cells.alarm_cell(alarms)] if collected.attacked else []


def _explanation(collected: Collected) -> str:
    sentences = []
    if any(run.adversarial.not_converged for attacked in collected.attacked for run in attacked.runs):
        sentences.append("Where an accuracy is marked as not converged, more attack steps were seen to lower it.")
    if len(collected.study.runs.seed) == 1 and any(shifted.first.ood.mean for shifted in collected.shifted):
        sentences.append("The interval of the out-of-distribution mean counts images, not their corrupted versions.")
    if different := [attacked.suffix for attacked in collected.attacked if not attacked.same_images]:
        of_suites = f" ({text.listed(each.removeprefix(': ') for each in different)})" if any(different) else ""
        sentences.append(f"The recipes were attacked on different images{of_suites}, so no value is marked as best.")
    elif len(collected.recipes) > 1:
        sentences.append(
            "★ marks a value that is separated from every other of its column (exact McNemar test on the same images, "
            "p < 0.05 after Holm's correction for all pairs; for a mean over corruptions Student's paired test over "
            "images); without ★ the highest value may lead by chance."
        )
    return " ".join(sentences)


def _by_run(collected: Collected, dataset: str) -> Table:
    rows = []
    for place, recipe in enumerate(collected.recipes):
        for index, run in enumerate(recipe.runs):
            row = [cells.run_cell(recipe, run)]
            for attacked in collected.attacked:
                row += _attacked_counts(attacked, attacked.recipes[place].runs[index])
            for shifted in collected.shifted:
                row += _ood_counts(collected, shifted, shifted.recipes[place].runs[index])
            rows.append(row)
    caption = "Accuracy in % of every run, the number of images that were right of all, and the 95 % Wilson interval."
    columns = [Column("run", text=True), *_columns(collected)]
    return Table(caption, columns, rows, summary=f"Every run{f' on {dataset}' if dataset else ''} with exact counts")


def _attacked_counts(attacked: Attacked, run: AttackedRun) -> list[Cell]:
    decimals = cells.digits(attacked)
    return [
        cells.proportion_cell(run.adversarial.accuracy[name], decimals, cells.doubt([run], name))
        for name in attacked.conditions
    ]


def _ood_counts(collected: Collected, shifted: Shifted, run: ShiftedRun) -> list[Cell]:
    decimals, row = cells.digits(shifted), []
    if _shows_clean(collected):
        row.append(cells.proportion_cell(run.ood.clean, decimals))
    if mean := run.ood.mean:
        row.append(Cell(text.percent(mean.mean_accuracy, decimals), f"{run.ood.samples} images"))
    return row


def branches(attacked: Attacked) -> Section | None:
    """Return the accuracies of the branches, or None when no model has any."""
    mixtures = [recipe for recipe in attacked.recipes if all(run.adversarial.branches for run in recipe.runs)]
    if not mixtures:
        return None
    measured = [shares for recipe in mixtures for run in recipe.runs for shares in run.adversarial.branches.values()]
    conditions = [condition for condition in attacked.conditions if all(condition in shares for shares in measured)]
    rows = [row for recipe in mixtures for row in _rows(recipe, conditions, cells.digits(attacked))]
    columns = [Column("recipe and branch", text=True), *(Column(attacked.title(name)) for name in conditions)]
    table = Table(cells.basis(attacked), columns, rows)
    introduction = Paragraph(
        "A mixture batch normalisation keeps separate statistics for clean and for adversarial images. At test time "
        "it is not known which of the two an image is, so the mixture is deployed, and all other tables show it. Each "
        "row was attacked separately."
        + (" The attacks of a branch are a cascade of their own." if attacked.cumulative else "")
    )
    blocks: list[Block] = [introduction, table, *_through_branches(attacked, mixtures)]
    return Section("branches", "Branches of mixture batch normalisation", "Branches", blocks)


def _through_branches(attacked: Attacked, mixtures: list[RecipeRuns[AttackedRun]]) -> list[Table]:
    """Return the accuracy of the deployed mixture under attacks on one branch alone; nothing if it was not measured."""
    measured = [run.adversarial.accuracy for recipe in mixtures for run in recipe.runs]
    conditions = [name for name in measured[0] if name.startswith(THROUGH) and all(name in each for each in measured)]
    if not conditions:
        return []
    decimals = cells.digits(attacked)
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
        f"counts these too. {cells.basis(attacked)}"
    )
    return [Table(caption, columns, rows, title="Attacked through one branch")]


def _deployed(model: ModelSpec) -> str:
    where = {"logits": "of logits", "all": "in all layers", "random": f"in {model.mixture_share:.0%} of the layers"}
    return f"{where[model.mixture_inference]}, adversarial weight {model.mixture_weight:g}"


def _rows(recipe: RecipeRuns[AttackedRun], conditions: list[str], decimals: int) -> list[list[Cell]]:
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
