"""Cross-entropy and top-5 accuracy, clean and attacked, and the gap to the training images."""

from collections.abc import Sequence

from nofrost.report import cells, text
from nofrost.report.compare import estimate, estimate_value
from nofrost.report.document import Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import Attacked
from nofrost.results import GeneralisationGap
from nofrost.statistics import mean_and_deviation


def losses(attacked: Attacked) -> Section | None:
    """Return the table of losses, or None where no recipe was measured so."""
    runs = list(attacked.runs)
    names = [name for name in attacked.conditions if all(name in run.adversarial.cross_entropy for run in runs)]
    if not names:
        return None
    tables = [_losses(attacked, names)]
    if all(run.adversarial.training for run in runs):
        tables.append(_training(attacked))
    introduction = Paragraph(
        "The cross-entropy of the true class in nats, averaged over all images; those that are wrong without an attack "
        "are attacked too. A loss near the logarithm of the number of classes is that of a guess."
    )
    return Section("losses", "Loss and top-5 accuracy", "Loss, top-5", [introduction, *tables])


def _losses(attacked: Attacked, names: Sequence[str]) -> Table:
    decimals = cells.digits(attacked)
    with_top_5 = [name for name in names if all(name in run.adversarial.top_5 for run in attacked.runs)]
    rows = [
        [
            cells.recipe_cell(recipe),
            *(cells.summary_cell([run.adversarial.cross_entropy[name] for run in recipe.runs]) for name in names),
            *(
                cells.estimate_cell(estimate([run.adversarial.top_5[name] for run in recipe.runs]), decimals)
                for name in with_top_5
            ),
        ]
        for recipe in attacked.recipes
    ]
    columns = [
        Column("recipe", text=True),
        *(Column(name, "cross-entropy, nats") for name in names),
        *(Column(name, "top-5 accuracy, %") for name in with_top_5),
    ]
    spread = cells.spread(attacked, "95 % interval over images (Student's of a loss, Wilson's of an accuracy)")
    images = text.plural(attacked.first.adversarial.samples, "test image")
    return Table(f"Over {images} of {attacked.manifest.name}, under each attack; {spread}.", columns, rows)


def _training(attacked: Attacked) -> Table:
    decimals = cells.digits(attacked)
    rows = []
    for recipe in attacked.recipes:
        found = [run.adversarial.training for run in recipe.runs if run.adversarial.training]
        rows.append(
            [
                cells.recipe_cell(recipe),
                cells.estimate_cell(estimate([each.accuracy for each in found]), decimals),
                cells.points_cell(
                    estimate_value([(each.gap, each.gap_low, each.gap_high) for each in found]), decimals
                ),
                cells.summary_cell([each.cross_entropy for each in found]),
                _loss_gap(found),
            ]
        )
    columns = [
        Column("recipe", text=True),
        Column("training", "accuracy, %"),
        Column("gap, points", "accuracy, %"),
        Column("training", "cross-entropy, nats"),
        Column("gap", "cross-entropy, nats"),
    ]
    first = attacked.first.adversarial.training
    images = text.plural(first.accuracy.total, "training image") if first else ""
    caption = (
        f"The generalisation gap: {images} of {attacked.manifest.name} without augmentation against the clean test "
        f"images, by how much a model is better on what it was trained on; {cells.spread(attacked)}."
    )
    return Table(caption, columns, rows, title="Generalisation gap")


def _loss_gap(found: Sequence[GeneralisationGap]) -> Cell:
    gaps = [each.loss_gap for each in found if each.loss_gap is not None]
    if len(gaps) < len(found):
        return Cell("none", hint="no image has a finite value")
    mean, deviation = mean_and_deviation(gaps)
    spread = "" if deviation is None else f"± {text.number(deviation)} (n = {len(gaps)})"
    return Cell(text.number(mean), spread.replace(" ", "\N{NO-BREAK SPACE}"))
