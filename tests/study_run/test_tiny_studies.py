"""Studies of the papers at their smallest size, on images of digits: from images to a report, run by DVC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nofrost.config import load_printed
from nofrost.files import read_json

ROOT = Path(__file__).parents[2]
# One of a paper, with few trainings; tests/pipelines/test_run_with_starts.py has a table of zeise2025.
STUDIES = ("galloway2019-figure-1", "wang2022-table-4", "xie2020-figure-6")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_studies_of_papers_run_from_images_to_reports_and_a_gallery(tmp_path: Path) -> None:
    pytest.importorskip("dvc")
    for name in ("components", "dvc.yaml", ".dvcignore"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data" / "source").mkdir(parents=True)
    outcomes = json.loads(nofrost(tmp_path, "study", "run", *STUDIES, "--size", "tiny", "--json"))
    assert {outcome["study"]: outcome["state"] for outcome in outcomes} == dict.fromkeys(STUDIES, "finished")
    for name in STUDIES:
        report = tmp_path / "papers" / name / "report"
        assert "Beside the printed numbers" in (report / "report.html").read_text(encoding="utf-8")
        ours, printed = read_json(report / "metrics.json")["printed"][name], load_printed(name)
        # A figure whose points are only drawn has no numbers.
        assert set(ours["rows"]) == {name for name, row in printed.rows.items() if row.values}
        assert len(ours["claims"]) == len(printed.claims)
    assert "3 studies" in nofrost(tmp_path, "gallery", "papers", "--out", "gallery.html")
    assert all(name in (tmp_path / "gallery.html").read_text(encoding="utf-8") for name in STUDIES)


def nofrost(folder: Path, *arguments: str) -> str:
    """Run a command of the project in `folder`; return what it printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "nofrost", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
