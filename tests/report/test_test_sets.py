"""The report shows further test sets, sets of corrupted images and of outliers beside the test split."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.report import text
from nofrost.report.collect import collect
from nofrost.report.collect_ood import check_alike
from nofrost.report.compare import compare_on_corruptions, compare_on_test_set
from nofrost.statistics import paired_comparison, paired_mean_comparison
from tests.report.study_on_disk import Tree, study
from tests.report.test_contents import Page, page

TEST_SETS = (
    "suites.ood.quick.test_sets.new.source=npz",
    "suites.ood.quick.test_sets.cue.source=npz",
    "suites.ood.quick.test_sets.published.source=cifar10-c",
    "suites.ood.quick.test_sets.things.source=folder",
    "suites.ood.quick.test_sets.things.outliers=true",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Two recipes of the study on digits, with further test sets of each kind."""
    corruptions = "suites.ood.quick.corruptions=[pixelate, gaussian_noise]"
    return Tree(tmp_path_factory.mktemp("study"), study("runs.recipe=[st, sat]", corruptions, *TEST_SETS))


@pytest.fixture(scope="module")
def folder(tree: Tree) -> Path:
    return tree.report()


@pytest.fixture(scope="module")
def shown(folder: Path) -> Page:
    return page(folder)


def rows_of(shown: Page, header: str) -> dict[str, list[str]]:
    """Return the rows of the only table with this column."""
    titles = [[" ".join(cell.split()) for row in table[:2] for cell in row] for table in shown.tables]
    (number,) = [number for number, table in enumerate(titles) if header in table]
    return shown.rows(number)


def test_the_table_has_a_column_for_each_test_set_with_its_interval(folder: Path, shown: Page) -> None:
    rows = {name.split()[0]: cells for name, cells in rows_of(shown, "new, 200 images").items() if name}
    assert all(cell.startswith("93.5") for cell in rows["st"][1:]), rows["st"]
    assert "Column new holds collected anew" in shown.text
    numbers = json.loads((folder / "metrics.json").read_text())["runs"]["st"]["seed-0"]
    assert numbers["test-sets/new"] == numbers["test-sets/cue"] == 0.935


def test_each_set_has_its_drop_and_what_else_was_measured_on_it(shown: Page) -> None:
    rows = rows_of(shown, "effective robustness")
    classes, accuracy, top5, clean, drop, effective, shape, error = rows["new st"]
    assert (classes, accuracy[:4], clean[:4]) == ("10", "93.5", "98.6")
    assert drop == "+5.1 +3.1 to +7.1"
    assert (top5[:4], effective, shape, error[:3]) == ("96.5", "+1.3", "", "1.6")
    assert rows["cue st"][5:7] == ["", "25.0 19.5–31.4"]


def test_outliers_have_the_area_and_the_false_positives_of_both_scores(folder: Path, shown: Page) -> None:
    area, false, energy, false_of_energy = rows_of(shown, "outliers")["things sat"]
    assert (area[:4], false, energy[:4], false_of_energy) == ("86.0", "14.0", "88.0", "47.0")
    assert "150 images of things" in shown.text
    numbers = json.loads((folder / "metrics.json").read_text())["runs"]["sat"]["seed-0"]
    assert numbers["auroc/things"] == pytest.approx(0.86)


def test_published_corruptions_have_a_section_of_their_own_and_are_not_called_ours(shown: Page) -> None:
    sections = [attributes["id"] for tag, attributes in shown.tags if tag == "section"]
    assert sections.index("corruptions") + 1 == sections.index("corrupted-sets")
    words = " ".join(shown.text.split())
    assert "360 images of published, as published, at every severity" in words
    assert "360 images of the test split of digits, corrupted here (nofrost-c), at every severity" in words


def test_runs_with_other_conditions_of_a_published_set_are_not_compared(tree: Tree) -> None:
    (shifted,) = collect(tree.dataset, None, tree.runs, tree.study).shifted
    runs = shifted.recipes
    first, other = runs[0].runs[0], runs[1].runs[0]
    measured = other.ood.corrupted_sets["published"]
    fewer = dict(list(measured.corruptions.items())[1:])
    sets = {"published": measured.model_copy(update={"corruptions": fewer})}
    check_alike([first, other])
    with pytest.raises(
        UserError, match="sat/seed-0/evaluate-ood/quick has other corruptions or severities of published"
    ):
        check_alike([first, replace(other, ood=other.ood.model_copy(update={"corrupted_sets": sets}))])


def test_corruptions_are_in_the_order_of_the_papers(shown: Page) -> None:
    tables = [table for table in shown.tables if table[1][0].strip() == "corruption"]
    assert [" ".join(row[0].split()) for row in tables[0][2:]] == ["gaussian noise noise", "pixelate digital"]


def test_the_calibration_error_is_in_the_caption_and_in_a_table(folder: Path, shown: Page) -> None:
    expected = json.loads((folder / "metrics.json").read_text())["runs"]["st"]["seed-0"]["calibration-error"]
    words = " ".join(shown.text.split())
    assert f"Expected calibration error: st {100 * expected:.1f} % clean and" in words
    (st,) = [cells for name, cells in rows_of(shown, "corrupted").items() if name == "st"]
    assert len(st) == 3  # clean, corrupted, the published set
    assert st[0].startswith(f"{100 * expected:.1f} ")


def flags(tree: Tree, recipe: str) -> dict[str, np.ndarray]:
    return dict(np.load(tree.runs / recipe / "seed-0" / "evaluate-ood" / "quick" / "flags.npz"))


def test_recipes_are_compared_on_each_test_set_by_the_exact_test(tree: Tree, shown: Page) -> None:
    one, other = (flags(tree, recipe)["test-sets/new/correct"] for recipe in ("st", "sat"))
    table = next(table for table in shown.tables if table[1][:2] == ["test set", "pair"])
    (row,) = [row for row in table if row[0].strip() == "new"]
    test = paired_comparison(one, other)
    assert [cell.strip() for cell in row[4:7]] == [
        str(test["only_first"]),
        str(test["only_second"]),
        text.p_value(test["p_value"]),
    ]


@pytest.mark.parametrize("number", [0, 1], ids=["of the suite", "published"])
def test_recipes_are_compared_on_the_mean_over_corruptions_image_by_image(tree: Tree, shown: Page, number: int) -> None:
    prefix = ("correct/", "test-sets/published/correct/")[number]
    shares = [
        np.mean([each for name, each in flags(tree, recipe).items() if re.match(rf"{prefix}\w+/\d", name)], axis=0)
        for recipe in ("st", "sat")
    ]
    test = paired_mean_comparison(*shares)
    table = [table for table in shown.tables if "interval" in [cell.strip() for cell in table[1]]][number]
    difference, low, high, p = (test[key] for key in ("difference", "low", "high", "p_value"))
    assert [cell.strip() for cell in table[2][2:5]] == [
        text.points(difference),
        f"{text.points(low)} to {text.points(high)}",
        text.p_value(p),
    ]


def test_runs_on_other_images_of_a_test_set_are_not_compared_on_it(tmp_path: Path) -> None:
    tree = Tree(tmp_path, study("runs.recipe=[st, sat]", "suites.ood.quick.corruptions=[contrast]", *TEST_SETS[:2]))

    def elsewhere(metrics: dict[str, Any]) -> dict[str, Any]:
        metrics["test_sets"]["cue"]["indices_sha256"] = "0" * 64
        return {**metrics, "indices_sha256": "1" * 64}

    tree.change("sat/seed-0/evaluate-ood/quick/metrics.json", elsewhere)
    (shifted,) = collect(tree.dataset, None, tree.runs, tree.study).shifted
    assert compare_on_test_set(shifted, "new")
    assert compare_on_test_set(shifted, "cue") == []
    assert compare_on_corruptions(shifted) == []


def test_a_suite_without_corruptions_leaves_out_their_section_and_their_mean(tmp_path: Path) -> None:
    sets = (*TEST_SETS[:1], *TEST_SETS[3:])
    tree = Tree(tmp_path, study("runs.recipe=[st, sat]", "suites.ood.quick.corruptions=[]", *sets))
    folder = tree.report()
    html = (folder / "report.html").read_text()
    assert 'id="test-sets"' in html
    assert 'id="corruptions"' not in html
    assert "mean accuracy" not in html
    numbers = json.loads((folder / "metrics.json").read_text())["runs"]["st"]["seed-0"]
    assert {"ood", "ood-calibration-error"}.isdisjoint(numbers)


def test_the_csv_has_the_published_corruptions_and_the_bins_of_confidence(tree: Tree, folder: Path) -> None:
    with (folder / "plots" / "corruptions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["test_set"] for row in rows) == {"": 2 * 2 * 5, "published": 2 * 2 * 3}
    with (folder / "plots" / "reliability.csv").open(newline="") as file:
        bins = [row for row in csv.DictReader(file) if (row["run"], row["images"]) == ("st/seed-0", "clean")]
    metrics = json.loads((tree.runs / "st/seed-0/evaluate-ood/quick/metrics.json").read_text())
    measured = metrics["clean"]["calibration"]["bins"]
    assert [float(row["accuracy"]) for row in bins] == [each["accuracy"] for each in measured]


def test_a_run_that_was_evaluated_on_other_test_sets_is_refused(tree: Tree) -> None:
    path = "sat/seed-0/evaluate-ood/quick/metrics.json"
    tree.change(path, lambda metrics: {**metrics, "test_sets": {}})
    with pytest.raises(
        UserError,
        match="quick has test sets published, things, the study cue, new, published, things: evaluate this run",
    ):
        tree.report("again")
    assert not Path(tree.root / "again").exists()


def test_views_are_shown_and_another_view_of_a_run_is_refused(tree: Tree) -> None:
    views = ("suites.adversarial.quick.view={resize: 32, crop: 28}", "suites.ood.quick.view={resize: 28, crop: 28}")
    other = Tree(tree.root / "views", study("runs.recipe=[st]", "suites.ood.quick.before_resize=true", *views))
    shown = page(other.report()).text
    for told in ("attacks: shorter side to 32, central 28 × 28", "corruptions: shorter side to 28, central 28 × 28"):
        assert told in " ".join(shown.split())
    assert "Noise was added to the stored pixels, before the resize." in shown

    def without_view(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "protocol": {**record["protocol"], "view": None}}

    other.change("st/seed-0/evaluate-ood/quick/record.json", without_view)
    with pytest.raises(UserError, match="evaluate-ood/quick has view as they are stored, the study shorter side to 28"):
        other.report("again")


def test_the_command_that_makes_a_missing_evaluation_names_the_folder_of_the_test_sets(tree: Tree) -> None:
    metrics = tree.runs / "st" / "seed-0" / "evaluate-ood" / "quick" / "metrics.json"
    aside = metrics.rename(metrics.with_suffix(".aside"))
    try:
        with pytest.raises(UserError, match=r"`nofrost evaluate .*--suite ood/quick .*--test-sets TEST_SETS --out"):
            tree.report()
    finally:
        aside.rename(metrics)
