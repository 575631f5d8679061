"""Accuracy on further test sets beside that on the dataset's own test split."""

from nofrost.report import cells, text
from nofrost.report.compare import estimate
from nofrost.report.document import Column, Section, Table
from nofrost.report.runs import Collected


def test_sets(collected: Collected) -> Section | None:
    """Return the accuracies by test set, or None for a study that has none."""
    names = list(collected.study.suites.ood.test_sets)
    if not names:
        return None
    decimals = cells.digits(collected)
    rows = [
        [
            cells.recipe_cell(recipe),
            cells.estimate_cell(estimate([run.ood.clean for run in recipe.runs]), decimals),
            *(
                cells.estimate_cell(estimate([run.ood.test_sets[name] for run in recipe.runs]), decimals)
                for name in names
            ),
        ]
        for recipe in collected.recipes
    ]
    first = collected.first.ood
    columns = [
        Column("recipe", text=True),
        Column(f"test split, {text.plural(first.clean.total, 'image')}", collected.manifest.name),
        *(
            Column(f"{name}, {text.plural(first.test_sets[name].total, 'image')}", "further test sets")
            for name in names
        ),
    ]
    names_of_sources = [
        f"{name} holds {first.test_sets[name].name}" for name in names if first.test_sets[name].name != name
    ]
    sentences = [
        "Accuracy in % on clean images of the test split and of test sets of the same classes; "
        f"{cells.spread(collected)}."
    ]
    if view := collected.views["corruptions"]:
        sentences.append(f"Images are evaluated at {text.view(view)}.")
    if names_of_sources:
        sentences.append(f"Column {text.listed(names_of_sources)}.")
    sentences.append("The images differ from column to column, so no paired test compares them.")
    return Section("test-sets", "Further test sets", "Test sets", [Table(" ".join(sentences), columns, rows)])
