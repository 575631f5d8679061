"""The report says which corruptions the mean accuracy is over, and shows the means of the others apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nofrost.errors import UserError
from nofrost.report.collect import collect
from nofrost.report.document import Table
from nofrost.report.sections.corruptions import corruptions
from tests.report.study_on_disk import Tree


@pytest.mark.parametrize(
    ("measured", "columns", "sentence"),
    [
        (
            "fog, sparkles, spatter, saturate",
            {"mean": "1 corruption", "extra": "2 corruptions", "c-bar": "1 corruption"},
            "The mean is over 1 of the 15 common corruptions, which printed means are over; 2 of extra and 1 of c-bar "
            "stand apart.",
        ),
        (
            "sparkles, spatter",
            {"mean": "2 corruptions"},
            "The mean is over corruptions that are none of the 15 common ones.",
        ),
    ],
)
def test_the_mean_is_over_common_corruptions_where_there_are_any(
    make_tree: Callable[..., Tree], measured: str, columns: dict[str, str], sentence: str
) -> None:
    tree = make_tree("runs.recipe=[st]", f"suites.ood.quick.corruptions=[{measured}]")
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    (shifted,) = collected.shifted
    section = corruptions(shifted)
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert {column.title: column.group for column in table.columns[2:]} == columns
    assert sentence in table.caption
    ood = shifted.first.ood
    assert shifted.first.flags.by_set[None].mean() == pytest.approx(ood.mean_accuracy)


def test_a_mean_over_other_corruptions_is_refused(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree("runs.recipe=[st]", "suites.ood.quick.corruptions=[fog, spatter]")
    averaging = "unweighted mean over all corruptions and severities"
    tree.change("st/seed-0/evaluate-ood/quick/metrics.json", lambda metrics: metrics | {"averaging": averaging})
    with pytest.raises(UserError, match=r"metrics\.json: the mean is .* evaluate again"):
        collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
