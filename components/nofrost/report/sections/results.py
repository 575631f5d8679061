"""The tables of accuracies: recipes, their branches, and the paired comparison of recipes on the same images."""

from nofrost.config import ModelSpec
from nofrost.report import cells, text
from nofrost.report.compare import ALPHA, Estimate, Pair, best_recipe, compare, estimate, estimate_mean
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import CLEAN, WORST_CASE, Collected, RecipeRuns

# The prefix of conditions whose images were made against one branch and shown to the mixture.
THROUGH = "through-"
_PAIR_COLUMNS = (
    Column("pair", text=True),
    Column("seed"),
    Column("difference, points"),
    Column("only first right", "images"),
    Column("only second right", "images"),
    Column("p", "exact McNemar test"),
    Column("p after Holm", "exact McNemar test"),
    Column("verdict", text=True),
)


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
    corrupted = [Column("mean accuracy", ood)] if collected.study.suites.ood.corruptions else []
    return [Column("clean"), *attacks, *corrupted]


def _in_a_cascade(collected: Collected) -> str:
    if not collected.cumulative:
        return ""
    return (
        f" The accuracies under {text.listed(map(collected.title, collected.cumulative))} are cumulative: the attacks "
        "ran as a cascade, each on the images that survived all before it, as AutoAttack does. Such a column shows "
        "what survives that attack and all to its left, not how strong the attack is alone."
    )


def _by_recipe(collected: Collected) -> Table:
    decimals = cells.digits(collected)
    best = {condition: best_recipe(collected, condition) for condition in collected.conditions}
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
            *(cells.estimate_cell(mean, decimals) for mean in ood_means(recipe)),
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


def ood_means(recipe: RecipeRuns) -> list[Estimate]:
    """Return the mean accuracy over all corruptions of a recipe; none where its suite has no corruptions."""
    means = [run.ood.mean for run in recipe.runs if run.ood.mean is not None]
    return [estimate_mean(means)] if means else []


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
                Cell(text.percent(mean.mean_accuracy, decimals), f"{run.ood.samples} images")
                for mean in (run.ood.mean,)
                if mean is not None
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


def pairs(collected: Collected) -> Section:
    """Return the comparison under the worst case and on clean images, or the reason why there is none."""
    blocks: list[Block]
    if len(collected.recipes) == 1:
        blocks = [Paragraph("The study has one recipe, so there is nothing to compare.")]
    elif not collected.same_images:
        different = ", ".join(
            f"{run.name} ({run.adversarial.samples} images, indices {text.short(run.adversarial.indices_sha256)})"
            for run in collected.runs
        )
        blocks = [
            Paragraph(
                "A paired test needs the same test images for all recipes, and these runs were attacked on different "
                f"ones: {different}. Evaluate them again with one suite to get this table."
            )
        ]
    else:
        blocks = [
            _table(collected, WORST_CASE, "Under the worst case"),
            _table(collected, CLEAN, "On clean images"),
            _under_each_attack(collected),
        ]
    return Section("pairs", "Paired comparison of recipes", "Comparison", blocks)


def _table(collected: Collected, condition: str, title: str) -> Table:
    comparisons = compare(collected, condition)
    images = text.plural(collected.first.adversarial.samples, "test image")
    seeds = " and all seeds" if len(collected.study.runs.seed) > 1 else ""
    caption = (
        f"Condition {condition}: accuracy of the first recipe minus that of the second on the same {images} of "
        f"{collected.manifest.name}, and the images that one alone got right. Two-sided exact McNemar test; p after "
        f"Holm's correction for {text.plural(len(comparisons), 'test')} (all pairs of recipes{seeds}); separated below "
        f"{ALPHA:g}. The test compares these trained models on such images, not other trainings of the same recipe."
    )
    return Table(caption, _PAIR_COLUMNS, [_row(pair) for pair in comparisons], title)


def _under_each_attack(collected: Collected) -> Table:
    """Return the comparison under every attack, corrected attack by attack."""
    rows = [
        [Cell(collected.title(attack)), *_row(pair)]
        for attack in collected.conditions[1:-1]
        for pair in compare(collected, attack)
    ]
    caption = (
        f"As the tables above, under each attack of the suite, on the same test images of {collected.manifest.name}; "
        "p after Holm's correction for all pairs and seeds of one attack. An attack marked + is cumulative."
    )
    return Table(caption, (Column("attack", text=True), *_PAIR_COLUMNS), rows, summary="Under each attack")


def _row(pair: Pair) -> list[Cell]:
    verdict = f"{pair.better} is better" if pair.better else "not separated"
    return [
        Cell(f"{pair.first} − {pair.second}"),
        Cell(str(pair.seed)),
        Cell(text.points(pair.difference)),
        Cell(text.count(pair.only_first)),
        Cell(text.count(pair.only_second)),
        Cell(text.p_value(pair.p_value)),
        Cell(text.p_value(pair.corrected)),
        Cell(verdict),
    ]
