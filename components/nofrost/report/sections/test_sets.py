"""Further test sets beside the dataset's own test split, and sets of outliers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nofrost.report import cells, text
from nofrost.report.compare import best_of, compare_on_test_set, estimate, estimate_value
from nofrost.report.document import Block, Cell, Column, Section, Table
from nofrost.report.runs import Shifted
from nofrost.results import Detection, OutlierSet, TestSetAccuracy


def test_sets(shifted: Shifted) -> Section | None:
    """Return the measures by test set, and how well outliers are told apart, or None for a study without such sets."""
    first = shifted.first.ood
    tables: list[Block] = []
    if first.test_sets:
        tables += [_accuracies(shifted), _measures(shifted)]
    if first.outlier_sets:
        tables.append(_outliers(shifted))
    return Section("test-sets", "Further test sets", "Test sets", tables) if tables else None


def _names(shifted: Shifted, of_kind: Sequence[str]) -> list[str]:
    """Return the names of the test sets of one kind, in the study's order."""
    return [name for name in shifted.suite.test_sets if name in of_kind]


def _accuracies(shifted: Shifted) -> Table:
    names = _names(shifted, list(shifted.first.ood.test_sets))
    decimals = cells.digits(shifted)
    best = {name: best_of(shifted.recipes, compare_on_test_set(shifted, name)) for name in names}
    rows = [
        [
            cells.recipe_cell(recipe),
            cells.estimate_cell(estimate([run.ood.clean for run in recipe.runs]), decimals),
            *(
                cells.estimate_cell(
                    estimate([run.ood.test_sets[name] for run in recipe.runs]), decimals, best[name] == recipe.name
                )
                for name in names
            ),
        ]
        for recipe in shifted.recipes
    ]
    first = shifted.first.ood
    columns = [
        Column("recipe", text=True),
        Column(f"test split, {text.plural(first.clean.total, 'image')}", shifted.manifest.name),
        *(
            Column(f"{name}, {text.plural(first.test_sets[name].total, 'image')}", "further test sets")
            for name in names
        ),
    ]
    own_names = [f"{name} holds {first.test_sets[name].name}" for name in names if first.test_sets[name].name != name]
    sentences = [f"Accuracy in % on images of the test split and of further test sets; {cells.spread(shifted)}."]
    if any(first.test_sets[name].classes < len(shifted.manifest.classes) for name in names):
        sentences.append("Beside a set of fewer classes belong the clean images of these, in the next table.")
    if view := shifted.view:
        sentences.append(f"Images are evaluated at {text.view(view)}.")
    if own_names:
        sentences.append(f"Column {text.listed(own_names)}.")
    if any(best.values()):
        sentences.append(
            "★ marks a value that is separated from every other of its column (exact McNemar test on the same images, "
            "p < 0.05 after Holm's correction for all pairs)."
        )
    sentences.append("The images differ from column to column, so no paired test compares two columns.")
    return Table(" ".join(sentences), columns, rows)


@dataclass(frozen=True)
class _Measure:
    """A column of the table by set, shown where a set has it; `meaning` is a sentence of the caption."""

    title: str
    cell: Callable[[Sequence[TestSetAccuracy], int], Cell | None]
    meaning: str = ""


def _top5(sets: Sequence[TestSetAccuracy], decimals: int) -> Cell | None:
    shares = [each.top5 for each in sets if each.top5 is not None]
    return cells.estimate_cell(estimate(shares), decimals) if len(shares) == len(sets) else None


def _drop(sets: Sequence[TestSetAccuracy], decimals: int) -> Cell:
    return cells.points_cell(estimate_value([(each.drop, each.drop_low, each.drop_high) for each in sets]), decimals)


def _effective(sets: Sequence[TestSetAccuracy], decimals: int) -> Cell | None:
    values = [each.effective_robustness for each in sets if each.effective_robustness is not None]
    return cells.number_cell(values, decimals, text.points) if len(values) == len(sets) else None


def _shape_bias(sets: Sequence[TestSetAccuracy], decimals: int) -> Cell | None:
    shares = [each.shape_bias for each in sets if each.shape_bias is not None]
    return cells.estimate_cell(estimate(shares), decimals) if len(shares) == len(sets) else None


def _calibration(sets: Sequence[TestSetAccuracy], decimals: int) -> Cell:
    return cells.calibration_cell([each.calibration for each in sets], decimals)


_MEASURES = (
    _Measure("accuracy", lambda sets, decimals: cells.estimate_cell(estimate(sets), decimals)),
    _Measure("top-5", _top5, "Top-5: the right class is among the five likeliest."),
    _Measure(
        "clean",
        lambda sets, decimals: cells.estimate_cell(estimate([each.clean for each in sets]), decimals),
        "Clean: images of the test split of the same classes, answered in the same way.",
    ),
    _Measure("drop", _drop, "Drop: clean minus accuracy, in points, with its 95 % interval."),
    _Measure(
        "effective robustness",
        _effective,
        "Effective robustness: accuracy above what published models of the same clean accuracy have, in points (Taori "
        "et al. 2020).",
    ),
    _Measure(
        "shape bias",
        _shape_bias,
        "Shape bias: share of answers for the shape among those for the shape or the texture (Geirhos et al. 2019).",
    ),
    _Measure("ECE", _calibration, "ECE: expected calibration error, with its 95 % bootstrap interval."),
)


def _measures(shifted: Shifted) -> Table:
    names, decimals = _names(shifted, list(shifted.first.ood.test_sets)), cells.digits(shifted)
    measured = [
        (name, recipe, [run.ood.test_sets[name] for run in recipe.runs]) for name in names for recipe in shifted.recipes
    ]
    columns = [[measure.cell(sets, decimals) for _, _, sets in measured] for measure in _MEASURES]
    shown = [(measure, column) for measure, column in zip(_MEASURES, columns, strict=True) if any(column)]
    rows = [
        [
            Cell(name, small=recipe.name, recipe=recipe.position),
            Cell(text.count(sets[0].classes), hint=f"{text.count(sets[0].total)} images"),
            *(column[index] or Cell("") for _, column in shown),
        ]
        for index, (name, recipe, sets) in enumerate(measured)
    ]
    titles = [Column("test set", text=True), Column("classes"), *(Column(measure.title) for measure, _ in shown)]
    sentences = [
        f"Measures by test set, in %, of the images that the table above counts; {cells.spread(shifted)}.",
        "A model answers with one of the set's classes.",
        *(measure.meaning for measure, _ in shown if measure.meaning),
    ]
    return Table(" ".join(sentences), titles, rows)


_SCORES: dict[str, Callable[[OutlierSet], Detection]] = {
    "largest probability": lambda outliers: outliers.max_softmax,
    "energy": lambda outliers: outliers.energy,
}


def _outliers(shifted: Shifted) -> Table:
    names, decimals = _names(shifted, list(shifted.first.ood.outlier_sets)), cells.digits(shifted)
    rows = []
    for name in names:
        for recipe in shifted.recipes:
            row = [Cell(name, small=recipe.name, recipe=recipe.position)]
            for score in _SCORES.values():
                found = [score(run.ood.outlier_sets[name]) for run in recipe.runs]
                area = estimate_value([(each.auroc, each.low, each.high) for each in found])
                row += [
                    cells.estimate_cell(area, decimals),
                    cells.number_cell([each.fpr95 for each in found], decimals),
                ]
            rows.append(row)
    columns = [Column("outliers", text=True)]
    for title in _SCORES:
        columns += [Column("AUROC", title), Column("FPR95", title)]
    first = shifted.first.ood
    counts = [f"{text.plural(first.outlier_sets[name].samples, 'image')} of {name}" for name in names]
    caption = (
        f"How well a score tells {text.plural(first.clean.total, 'clean test image')} of {shifted.manifest.name} "
        f"from images of no class of it ({text.listed(counts)}), in %; "
        f"{cells.spread(shifted, '95 % interval of the AUROC (DeLong et al. 1988)')}. AUROC: how often a clean image "
        "has the higher score of two, 50 by chance. FPR95: outliers that pass where 95 % of the clean images do, lower "
        "is better. Scores: the largest probability, and the energy, the logarithm of the summed exponentials of the "
        "logits."
    )
    return Table(caption, columns, rows, title="Outliers")
