"""The paired comparison of recipes on the same images: attacked, clean, corrupted, and of further test sets."""

import heapq
from collections.abc import Sequence
from typing import TypeVar

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
from nofrost.report.runs import CLEAN, WORST_CASE, Attacked, Collected, Shifted

P = TypeVar("P", bound=Pair)
# Of the many pairs of a sweep, a table shows so many under each condition.
MOST_PAIRS = 300
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


def pairs(collected: Collected) -> Section | None:
    """Return the comparisons under attack, on clean and corrupted images and test sets, or why there are none."""
    blocks: list[Block] = []
    parts = [part for part in collected.by_dataset if len(part.recipes) > 1]
    if not parts:
        on_each = " on each dataset" if collected.parts else ""
        blocks.append(Paragraph(f"The study has one recipe{on_each}, so there is nothing to compare."))
    elif collected.parts:
        blocks.append(Paragraph("Recipes are compared where they are trained and measured on the same dataset."))
    for part in parts:
        for attacked in part.attacked:
            blocks += _under_attack(attacked)
        for shifted in part.shifted:
            blocks += [*_on_corruptions(shifted), *_on_test_sets(shifted)]
    return Section("pairs", "Paired comparison of recipes", "Comparison", blocks) if blocks else None


def _under_attack(attacked: Attacked) -> list[Block]:
    if not attacked.same_images:
        different = ", ".join(
            f"{run.name} ({run.adversarial.samples} images, indices {text.short(run.adversarial.indices_sha256)})"
            for run in attacked.runs
        )
        of_suite = f" with {attacked.heading}" if attacked.heading else ""
        return [
            Paragraph(
                f"A paired test needs the same test images for all recipes, and these runs were attacked{of_suite} on "
                f"different ones: {different}. Evaluate them again with one suite to get this table."
            )
        ]
    return [
        _table(attacked, WORST_CASE, f"Under the worst case{attacked.suffix}"),
        _table(attacked, CLEAN, f"On clean images{attacked.suffix}"),
        _under_each_attack(attacked),
    ]


def _table(attacked: Attacked, condition: str, title: str) -> Table:
    comparisons = compare(attacked, condition)
    images = text.plural(attacked.first.adversarial.samples, "test image")
    seeds = " and all seeds" if len(attacked.study.runs.seed) > 1 else ""
    caption = (
        f"Condition {condition}: accuracy of the first recipe minus that of the second on the same {images} of "
        f"{attacked.manifest.name}, and the images that one alone got right. Two-sided exact McNemar test; p after "
        f"Holm's correction for {text.plural(len(comparisons), 'test')} (all pairs of recipes{seeds}); separated below "
        f"{ALPHA:g}. The test compares these trained models on such images, not other trainings of the same recipe."
        f"{_of_more(comparisons)}"
    )
    return Table(caption, _PAIR_COLUMNS, [_row(pair) for pair in _shown(comparisons)], title)


def _shown(comparisons: Sequence[P]) -> list[P]:
    """Return the pairs with the smallest p values, in their order."""
    kept = heapq.nsmallest(MOST_PAIRS, range(len(comparisons)), key=lambda index: comparisons[index].p_value)
    return [comparisons[index] for index in sorted(kept)]


def _of_more(comparisons: Sequence[Pair]) -> str:
    """Return the sentence that says which pairs a table shows, where it does not show all."""
    if len(comparisons) <= MOST_PAIRS:
        return ""
    return f" Of {text.count(len(comparisons))} pairs those {MOST_PAIRS} with the smallest p are shown."


def _under_each_attack(attacked: Attacked) -> Table:
    """Return the comparison under every attack, corrected attack by attack."""
    by_attack = {attack: compare(attacked, attack) for attack in attacked.conditions[1:-1]}
    rows = [[Cell(attacked.title(attack)), *_row(pair)] for attack, each in by_attack.items() for pair in _shown(each)]
    caption = (
        f"As the tables above, under each attack of the suite, on the same test images of {attacked.manifest.name}; "
        "p after Holm's correction for all pairs and seeds of one attack. An attack marked + is cumulative."
        f"{_of_more(next(iter(by_attack.values()), ()))}"
    )
    return Table(
        caption, (Column("attack", text=True), *_PAIR_COLUMNS), rows, summary=f"Under each attack{attacked.suffix}"
    )


def _on_corruptions(shifted: Shifted) -> list[Block]:
    """Return the comparisons of means over corruptions: those of the suite, then published sets."""
    sources = {None: f"On corrupted images{shifted.suffix}"} | {
        name: f"On corrupted images: {name}"
        for name in shifted.suite.test_sets
        if name in shifted.first.ood.corrupted_sets
    }
    return [
        _means(shifted, comparisons, name, title)
        for name, title in sources.items()
        if (comparisons := compare_on_corruptions(shifted, name))
    ]


def _means(shifted: Shifted, comparisons: list[MeanPair], name: str | None, title: str) -> Table:
    count = text.plural(len(shifted.first.flags.by_set[name]), "image")
    images = f"{count} of {name}" if name else f"{count} of the test split of {shifted.manifest.name}"
    caption = (
        "Mean accuracy over corruptions and severities, those of the table of means, of the first "
        "recipe minus that of the second, with its 95 % interval. Student's paired test over the same "
        f"{images}, each with the share of its corrupted versions that a model got right; p "
        f"after Holm's correction for {text.plural(len(comparisons), 'test')}; separated below "
        f"{ALPHA:g}.{_of_more(comparisons)}"
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
        for pair in _shown(comparisons)
    ]
    return Table(caption, columns, rows, title)


def _on_test_sets(shifted: Shifted) -> list[Block]:
    """Return the comparison on every further test set, corrected set by set."""
    names = [name for name in shifted.suite.test_sets if name in shifted.first.ood.test_sets]
    by_set = {name: compare_on_test_set(shifted, name) for name in names}
    rows = [[Cell(name), *_row(pair)] for name, each in by_set.items() for pair in _shown(each)]
    if not rows:
        return []
    counts = [
        f"{text.plural(shifted.first.ood.test_sets[name].total, 'image')} of {name}"
        for name in names
        if shifted.same_images(name)
    ]
    caption = (
        f"As on clean images, on further test sets ({text.listed(counts)}); p after Holm's correction for all pairs "
        f"and seeds of one set.{_of_more(max(by_set.values(), key=len))}"
    )
    return [
        Table(
            caption,
            (Column("test set", text=True), *_PAIR_COLUMNS),
            rows,
            summary=f"On each further test set{shifted.suffix}",
        )
    ]


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
