"""What the tests of studies in folders of their own share: a project, and what stands for DVC."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# What `python -m dvc repro` stands for here: it prints the lines of DVC, and ends as the file `exit-code` says.
FAKE_DVC = """
import os, pathlib, sys
assert sys.argv[1:] == ["repro"] and pathlib.Path("params.yaml").is_file()
assert os.environ["PATH"].split(os.pathsep)[0] == str(pathlib.Path(sys.executable).parent)
print("Running stage 'train@st-0':\\nStage 'train@sat-0' is cached - skipping run, checking out outputs", flush=True)
code = pathlib.Path("../exit-code")
sys.exit(int(code.read_text()) if code.is_file() else 0)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what a study is run from."""
    folder = tmp_path / "project"
    for name in ("components", "data/source"):
        (folder / name).mkdir(parents=True)
    for name in ("dvc.yaml", ".dvcignore"):
        (folder / name).write_text(f"# {name}\n")
    return folder


@pytest.fixture
def fake_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules" / "dvc").mkdir(parents=True)
    (tmp_path / "modules" / "dvc" / "__init__.py").touch()
    (tmp_path / "modules" / "dvc" / "__main__.py").write_text(FAKE_DVC)
    path = os.pathsep.join([str(tmp_path / "modules"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
