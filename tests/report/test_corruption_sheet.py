"""The sheet of one test image under each corruption at each severity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.report.collect import collect
from nofrost.report.document import Pictures
from nofrost.report.sections.corruption_sheet import corruption_sheet
from tests.report.study_on_disk import Tree, study

NAMES = ["gaussian_noise", "contrast"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    overrides = (
        "runs.recipe=[st]",
        "suites.ood.quick.corruptions=[contrast, gaussian_noise]",
        "suites.ood.quick.severities=[1, 5]",
    )
    return Tree(tmp_path, study(*overrides))


def sheet(tree: Tree, **changed: np.ndarray | None) -> Pictures:
    """Return the sheet with some arrays of the examples replaced or, by None, left out."""
    path = tree.runs / "st/seed-0/evaluate-ood/quick/examples.npz"
    arrays: dict[str, Any] = {**np.load(path), **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    (shifted,) = collect(tree.dataset, None, tree.runs, tree.study).shifted
    return corruption_sheet(shifted, NAMES)


def test_rows_are_corruptions_and_columns_severities(tree: Tree) -> None:
    found = sheet(tree)
    assert list(found.columns) == ["1", "5"]
    assert [(title, len(pictures)) for title, pictures in found.rows] == [
        ("clean image", 1),
        ("gaussian noise", 2),
        ("contrast", 2),
    ]
    assert found.rows[2][1][1].alt == "the image under contrast of severity 5"
    assert len({picture.source for _, pictures in found.rows for picture in pictures}) == 5
    assert "nofrost-c" in found.caption
    assert found.summary == ""


def test_photographs_are_shown_as_jpeg(tree: Tree) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    found = sheet(tree, image=pixels[0], corrupted=pixels[1:].reshape(2, 2, 112, 112, 3))
    sources = [picture.source for _, pictures in found.rows for picture in pictures]
    assert all(source.startswith("data:image/jpeg;") for source in sources)


@pytest.mark.parametrize(
    "changed",
    [
        {"severities": None},
        {"names": np.array(["contrast", "fog"])},
        {"corrupted": np.zeros((2, 16, 16, 1), np.uint8)},
    ],
    ids=["of an earlier version", "of other corruptions", "without severities"],
)
def test_examples_that_are_no_sheet_are_refused(tree: Tree, changed: dict[str, np.ndarray | None]) -> None:
    with pytest.raises(UserError, match=r"examples\.npz does not contain corrupted examples: evaluate this run again"):
        sheet(tree, **changed)
