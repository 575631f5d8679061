"""The paired comparison of recipes on the same images: attacked, clean, corrupted, and of further test sets."""

from nofrost.report import text
from nofrost.report.compare import (
    ALPHA,
    FlagPair,
    MeanPair,
    Pair,
    compare,
    compare_on_corruptions,
    compare_on_test_set,
)
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import CLEAN, WORST_CASE, Collected

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


def pairs(collected: Collected) -> Section:
    """Return the comparisons under attack, on clean and corrupted images and test sets, or why there are none."""
    blocks: list[Block]
    out_of_distribution = [*_on_corruptions(collected), *_on_test_sets(collected)]
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
            ),
            *out_of_distribution,
        ]
    else:
        blocks = [
            _table(collected, WORST_CASE, "Under the worst case"),
            _table(collected, CLEAN, "On clean images"),
            _under_each_attack(collected),
            *out_of_distribution,
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


def _on_corruptions(collected: Collected) -> list[Block]:
    """Return the comparisons of means over corruptions: those of the suite, then published sets."""
    sources = {None: "On corrupted images"} | {
        name: f"On corrupted images: {name}"
        for name in collected.study.suites.ood.test_sets
        if name in collected.first.ood.corrupted_sets
    }
    return [
        _means(collected, comparisons, name, title)
        for name, title in sources.items()
        if (comparisons := compare_on_corruptions(collected, name))
    ]


def _means(collected: Collected, comparisons: list[MeanPair], name: str | None, title: str) -> Table:
    count = text.plural(len(collected.first.ood_flags.by_set[name]), "image")
    images = f"{count} of {name}" if name else f"{count} of the test split of {collected.manifest.name}"
    caption = (
        "Mean accuracy over corruptions and severities, those of the table of means, of the first "
        "recipe minus that of the second, with its 95 % interval. Student's paired test over the same "
        f"{images}, each with the share of its corrupted versions that a model got right; p "
        f"after Holm's correction for {text.plural(len(comparisons), 'test')}; separated below "
        f"{ALPHA:g}."
    )
    columns = (
        Column("pair", text=True),
        Column("seed"),
        Column("difference, points"),
        Column("interval"),
        Column("p", "paired test over images"),
        Column("p after Holm", "paired test over images"),
        Column("verdict", text=True),
    )
    rows = [
        [*_ends(pair)[:3], Cell(f"{text.points(pair.low)} to {text.points(pair.high)}"), *_ends(pair)[3:]]
        for pair in comparisons
    ]
    return Table(caption, columns, rows, title)


def _on_test_sets(collected: Collected) -> list[Block]:
    """Return the comparison on every further test set, corrected set by set."""
    names = [name for name in collected.study.suites.ood.test_sets if name in collected.first.ood.test_sets]
    rows = [[Cell(name), *_row(pair)] for name in names for pair in compare_on_test_set(collected, name)]
    if not rows:
        return []
    counts = [
        f"{text.plural(collected.first.ood.test_sets[name].total, 'image')} of {name}"
        for name in names
        if collected.same_ood_images(name)
    ]
    caption = (
        f"As on clean images, on further test sets ({text.listed(counts)}); p after Holm's correction for all pairs "
        "and seeds of one set."
    )
    return [Table(caption, (Column("test set", text=True), *_PAIR_COLUMNS), rows, summary="On each further test set")]


def _row(pair: FlagPair) -> list[Cell]:
    first, last = _ends(pair)[:3], _ends(pair)[3:]
    return [*first, Cell(text.count(pair.only_first)), Cell(text.count(pair.only_second)), *last]


def _ends(pair: Pair) -> list[Cell]:
    """Return the cells that all comparisons have: three of the pair, then three of the test."""
    return [
        Cell(f"{pair.first} − {pair.second}"),
        Cell(str(pair.seed)),
        Cell(text.points(pair.difference)),
        Cell(text.p_value(pair.p_value)),
        Cell(text.p_value(pair.corrected)),
        Cell(f"{pair.better} is better" if pair.better else "not separated"),
    ]
