"""Estimates over seeds, Holm's correction and the mark of the best."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.report.collect import collect
from nofrost.report.compare import best_recipe, compare, estimate, holm
from nofrost.report.document import Section, Table
from nofrost.report.sections.pairs import pairs
from nofrost.results import Proportion
from nofrost.statistics import paired_comparison


def share(correct: int, total: int = 200) -> Proportion:
    return Proportion.of(correct, total)


def test_one_seed_has_the_wilson_interval() -> None:
    found = estimate([share(150)])
    assert (found.value, found.low, found.high) == (0.75, *Proportion.of(150, 200).interval)
    assert found.deviation is None
    assert found.counts == "150 of 200 images"


def test_several_seeds_have_mean_and_sample_deviation() -> None:
    found = estimate([share(150), share(160), share(170)])
    assert found.value == pytest.approx(0.8)
    assert found.deviation == pytest.approx(0.05)
    assert (found.low, found.high) == (pytest.approx(0.75), pytest.approx(0.85))
    assert found.seeds == 3


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.5], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_agrees_with_the_worked_examples(p_values: list[float], corrected: list[float]) -> None:
    assert holm(p_values) == pytest.approx(corrected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_lies_between_the_p_value_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, q in zip(p_values, corrected, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p)
    assert [q for _, q in sorted(zip(p_values, corrected, strict=True))] == sorted(corrected)


def attacked(tree: Any) -> Any:
    (found,) = collect(tree.dataset, tree.augmentation, tree.runs, tree.study).attacked
    return found


def test_pairs_are_tested_on_the_same_images_and_corrected_for_their_number(whole: Any) -> None:
    tree, _ = whole
    found = attacked(tree)
    compared = compare(found, "worst-case")
    assert len(compared) == 6
    flags = {run.recipe: run.flags["worst-case"] for run in found.runs}
    for pair in compared:
        expected = paired_comparison(flags[pair.first], flags[pair.second])
        assert (pair.only_first, pair.only_second) == (expected["only_first"], expected["only_second"])
        assert pair.p_value == expected["p_value"]
        assert pair.difference == expected["difference"]
    assert [pair.corrected for pair in compared] == holm([pair.p_value for pair in compared])


def test_of_many_pairs_the_tables_show_those_with_the_smallest_p(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, _ = whole
    found = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    in_full = tables(pairs(found))
    # The function hides the module in its package.
    monkeypatch.setattr(import_module("nofrost.report.sections.pairs"), "MOST_PAIRS", 2)
    for table, whole_table in zip(tables(pairs(found)), in_full, strict=True):
        assert "Of 6 pairs those 2 with the smallest p are shown." in table.caption
        assert len(table.rows) == len(whole_table.rows) / 3
        assert [row for row in whole_table.rows if row in table.rows] == table.rows
        assert "are shown" not in whole_table.caption
    smallest = sorted(compare(attacked(tree), "worst-case"), key=lambda pair: pair.p_value)[:2]
    shown = {row[0].text for row in tables(pairs(found))[0].rows}
    assert shown == {f"{pair.first} \N{MINUS SIGN} {pair.second}" for pair in smallest}


def tables(section: Section | None) -> list[Table]:
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Table)]


def test_every_seed_is_a_test_of_its_own(seeded: Any) -> None:
    assert [pair.seed for pair in compare(attacked(seeded[0]), "clean")] == [0, 1, 2]


def with_flags(found: Any, flags: dict[str, np.ndarray]) -> Any:
    from dataclasses import replace

    recipes = tuple(
        replace(recipe, runs=tuple(replace(run, flags={"clean": flags[recipe.name]}) for run in recipe.runs))
        for recipe in found.recipes
    )
    return replace(found, recipes=recipes)


@pytest.mark.parametrize(
    ("right", "best"),
    [
        ({"st": 300, "sat": 200, "mbnat": 100, "nofrost": 50}, "st"),
        ({"st": 200, "sat": 300, "mbnat": 299, "nofrost": 50}, None),
        ({"st": 300, "sat": 300, "mbnat": 100, "nofrost": 50}, None),
        ({"st": 10, "sat": 20, "mbnat": 30, "nofrost": 90}, "nofrost"),
    ],
)
def test_only_a_recipe_that_is_separated_from_all_others_is_best(whole: Any, right: dict[str, int], best: Any) -> None:
    flags = {name: np.arange(360) < number for name, number in right.items()}
    assert best_recipe(with_flags(attacked(whole[0]), flags), "clean") == best


def test_only_the_best_recipe_has_a_star(make_tree: Any) -> None:
    tree = make_tree("runs.recipe=[st, nofrost]")
    html = (tree.report() / "report.html").read_text(encoding="utf-8")
    rows = html.split('<table aria-labelledby="table-1">')[1].split("</table>")[0].split("<tr>")[-2:]
    assert [row.count("★") for row in rows] == [
        2,
        5,
    ]  # st clean and corrupted; nofrost under four attacks and their worst case
    assert rows[0].index("★") < rows[0].index("13.9")
