"""The paired comparison of recipes on the same images."""

from __future__ import annotations

from nofrost.report import text
from nofrost.report.compare import ALPHA, Pair, compare
from nofrost.report.document import Block, Cell, Column, Paragraph, Section, Table
from nofrost.report.runs import CLEAN, WORST_CASE, Collected

_COLUMNS = (
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
                f"ones: {different}. Evaluate them again with one suite to have this table."
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
    found = compare(collected, condition)
    images = text.plural(collected.first.adversarial.samples, "test image")
    seeds = " and all seeds" if len(collected.study.runs.seed) > 1 else ""
    caption = (
        f"Condition {condition}: accuracy of the first recipe minus that of the second on the same {images} of "
        f"{collected.manifest.name}, and the images that one alone got right. Two-sided exact McNemar test; p after "
        f"Holm's correction for {text.plural(len(found), 'test')} (all pairs of recipes{seeds}); separated below "
        f"{ALPHA:g}. The test speaks of these trained models on such images, not of other trainings of the same recipe."
    )
    return Table(caption, _COLUMNS, [_row(pair) for pair in found], title)


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
    return Table(caption, (Column("attack", text=True), *_COLUMNS), rows, summary="Under each attack")


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
