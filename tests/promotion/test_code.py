"""The address of the code: DVC's own for the same folder."""

from __future__ import annotations

from pathlib import Path

import nofrost
from nofrost.promotion.code import code_refs, folder_ref


def test_every_folder_of_the_package_is_there() -> None:
    package = Path(nofrost.__file__).parent
    folders = {path.name for path in package.iterdir() if path.is_dir()} - {"__pycache__"}
    assert set(code_refs()) == {f"components/nofrost/{folder}" for folder in folders}


def test_the_refs_are_those_that_dvc_finds_in_a_checkout(clone: Path) -> None:
    from nofrost.promotion.project import refs_here

    folders = ["components/nofrost/telemetry", "components/nofrost/models"]
    assert list((clone / folders[0]).rglob("*.pyc")), "there must be something to leave out"
    here = refs_here(clone, folders)
    assert here == {folder: code_refs()[folder] for folder in folders}
    (clone / folders[0] / "progress.py").write_text("# changed")
    assert refs_here(clone, folders[:1]) != {folders[0]: here[folders[0]]}


def test_what_python_caches_is_left_out_as_dvc_does(clone: Path) -> None:
    from nofrost.promotion.project import refs_here

    folder = clone / "components/nofrost/models"
    before = folder_ref(folder)
    (folder / "__pycache__" / "of-another-tool.index").write_text("cached")
    (folder / "lone.pyc").write_text("compiled")
    assert refs_here(clone, ["components/nofrost/models"]) == {"components/nofrost/models": before}
    assert folder_ref(folder) == before
