"""The report shows the accuracy on each further test set beside that on the test split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from tests.report.study_on_disk import Tree, study
from tests.report.test_contents import page

TEST_SETS = ("suites.ood.test_sets.new.source=npz", "suites.ood.test_sets.other.source=npz")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Two recipes of the study on digits, with two further test sets."""
    return Tree(tmp_path_factory.mktemp("study"), study("runs.recipe=[st, sat]", *TEST_SETS))


def test_the_table_has_a_column_for_each_test_set_with_its_interval(tree: Tree) -> None:
    folder = tree.report()
    shown = page(folder)
    (number,) = [
        number for number, table in enumerate(shown.tables) if any("new, 200 images" in row for row in table[:2])
    ]
    rows = {name.split()[0]: cells for name, cells in shown.rows(number).items() if name}
    assert all(cell.startswith("93.5") for cell in rows["st"][1:]), rows["st"]
    assert "Column new holds collected anew" in shown.text
    numbers = json.loads((folder / "metrics.json").read_text())["runs"]["st"]["seed-0"]
    assert numbers["test-sets/new"] == numbers["test-sets/other"] == 0.935


def test_a_run_that_was_evaluated_on_other_test_sets_is_refused(tree: Tree) -> None:
    path = "sat/seed-0/evaluate-ood/metrics.json"
    tree.change(path, lambda metrics: {**metrics, "test_sets": {}})
    with pytest.raises(UserError, match="evaluate-ood has test sets none, the study new, other: evaluate this run"):
        tree.report("again")
    assert not Path(tree.root / "again").exists()


def test_views_are_shown_and_another_view_of_a_run_is_refused(tree: Tree) -> None:
    views = ("suites.adversarial.view={resize: 32, crop: 28}", "suites.ood.view={resize: 28, crop: 28}")
    other = Tree(tree.root / "views", study("runs.recipe=[st]", "suites.ood.before_resize=true", *views))
    text = page(other.report()).text
    for told in ("attacks: shorter side to 32, central 28 × 28", "corruptions: shorter side to 28, central 28 × 28"):
        assert told in " ".join(text.split())
    assert "Noise was added to the stored pixels, before the resize." in text

    def without_view(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "protocol": {**record["protocol"], "view": None}}

    other.change("st/seed-0/evaluate-ood/record.json", without_view)
    with pytest.raises(UserError, match="evaluate-ood has view as they are stored, the study shorter side to 28"):
        other.report("again")
