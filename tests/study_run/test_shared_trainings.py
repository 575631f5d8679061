"""Whole studies run by DVC, each in its folder: what they train alike is trained once, and changes no number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.files import read_json

ROOT = Path(__file__).parents[2]
SUITE = {
    "base": "adversarial-quick",
    "attacks": {"apgd-ce-100": {"steps": 2}, "square-200": {"queries": 10}},
    "steps_curve": None,
    "max_images": 16,
}
STUDY: dict[str, Any] = {
    "base": "digits",
    "dataset": {"limit": 200},
    "augmentation": {"methods": []},
    "scale": {"schedule": {"epochs": 4}},
    "suites": {"adversarial": {"quick": SUITE}, "ood": {"quick": None}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two studies that have a training in common."""
    pytest.importorskip("dvc")
    folder = tmp_path_factory.mktemp("project")
    for name in ("components", "dvc.yaml", ".dvcignore"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "data" / "source").mkdir(parents=True)
    for name, recipes in {"first": ["st", "sat"], "second": ["st"]}.items():
        values = {**STUDY, "name": name, "runs": {"recipe": recipes}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder


def run(project: Path, out: str, *names: str) -> str:
    """Run studies; return what DVC and the stages printed."""
    command = [sys.executable, "-m", "nofrost", "study", "run", *(f"{name}.yaml" for name in names), "--out", out]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_two_studies_train_alike_is_trained_once_and_changes_no_number(project: Path) -> None:
    run(project, "together", "first", "second")
    run(project, "alone", "second")
    records = {
        path: read_json(project / path / "record.json")
        for path in ("together/first", "together/second", "alone/second")
    }
    assert [record["trained"] for record in records.values()] == [["st-0", "sat-0"], [], ["st-0"]]
    assert all(record["finished"] and record["processor_minutes"] > 0 for record in records.values())
    metrics = [
        (project / path / "report" / "metrics.json").read_bytes() for path in ("together/second", "alone/second")
    ]
    assert metrics[0] == metrics[1]
    printed = run(project, "together", "first", "second")
    assert "Running stage" not in printed
    assert [read_json(project / path / "record.json") for path in records] == list(records.values())
