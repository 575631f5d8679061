"""Studies on disk, to change or with their report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.study_on_disk import Tree, study


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Return a function that makes a study on disk from the digits study and overrides."""
    return lambda *overrides: Tree(tmp_path, study(*overrides))


@pytest.fixture
def tree(make_tree: Callable[..., Tree]) -> Tree:
    return make_tree("runs.recipe=[st, mbnat]", "suites.ood.quick.corruptions=[contrast]")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """The study with all four recipes and its report; not to be changed."""
    tree = Tree(tmp_path_factory.mktemp("whole"), study())
    return tree, tree.report()


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """Two recipes with three seeds each and their report; not to be changed."""
    tree = Tree(tmp_path_factory.mktemp("seeded"), study("runs.recipe=[sat, nofrost]", "runs.seed=[0, 1, 2]"))
    return tree, tree.report()
