"""The project's own dvc.yaml: a run on a cluster, promoted in a git clone that has only the remote."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.config import load_study, study_as_yaml
from nofrost.promotion import plan_promotion, write_candidate
from nofrost.store import Output, Store, open_store, push

ROOT = Path(__file__).parents[2]
RECIPES = ("st", "nofrost")


def git(*arguments: str, cwd: Path) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "remote"))


@pytest.fixture
def checkout(tmp_path: Path, store: Store) -> Path:
    """A git clone of the project with a study of two recipes, and nothing that a stage makes."""
    folder = tmp_path / "clone"
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
        if name.startswith(("components/", "data/", ".dvc", ".git", "dvc.yaml")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    study = load_study("digits", [f"runs.recipe=[{', '.join(RECIPES)}]"])
    (folder / "params.yaml").write_text(study_as_yaml(study), encoding="utf-8")
    (folder / ".dvc" / "config.local").write_text(f"['remote \"local\"']\n    url = {store.url}\n")
    git("init", "-q", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-qm", "a study", cwd=folder)
    return folder


def push_outputs(run: str, recipes: tuple[str, ...], folder: Path, store: Store) -> list[Output]:
    """Push outputs like those of a run of these recipes: small files instead of images and weights."""
    folders = ["data/dataset", "data/test-sets/quick", "data/augmentation"]
    stages = ("train", "evaluate-adversarial/quick", "evaluate-ood/quick")
    folders += [f"runs/{recipe}/seed-0/{stage}" for recipe in recipes for stage in stages]
    if recipes == RECIPES:
        folders.append("report")
    outputs = []
    for path in folders:
        output = folder / run / path
        (output / "inside").mkdir(parents=True)
        (output / "metrics.json").write_text("{}" if path.startswith("data") else f'"{run}"')
        (output / "inside" / "file").write_text(path)
        outputs.append(Output(path, push(output, store)))
    return outputs


def leave(run: str, recipes: tuple[str, ...], tmp_path: Path, store: Store) -> list[Output]:
    """Write the candidate of a run of these recipes; return its outputs."""
    outputs = push_outputs(run, recipes, tmp_path / "pods", store)
    study = load_study("digits", [f"runs.recipe=[{', '.join(recipes)}]"])
    write_candidate(outputs, study=study, run=run, image="image@1", source=None, store=store)
    return outputs


@pytest.mark.slow
def test_after_promotion_dvc_pull_brings_every_output_and_repro_runs_nothing(
    checkout: Path, store: Store, tmp_path: Path, call_dvc: Callable[..., str]
) -> None:
    outputs = leave("whole", RECIPES, tmp_path, store)
    plan_promotion("whole", store, checkout).write()
    call_dvc("pull", cwd=checkout)
    for output in outputs:
        pods = sorted((tmp_path / "pods/whole" / output.path).rglob("*"))
        here = sorted((checkout / output.path).rglob("*"))
        assert [path.read_bytes() for path in here if path.is_file()] == [
            path.read_bytes() for path in pods if path.is_file()
        ]
    assert "up to date" in call_dvc("status", cwd=checkout)
    plan = call_dvc("repro", "--dry", cwd=checkout)
    assert "Running stage" not in plan
    assert git("status", "--porcelain", cwd=checkout) == "?? dvc.lock\n"


@pytest.mark.slow
def test_a_second_run_of_one_recipe_replaces_only_that_recipe(
    checkout: Path, store: Store, tmp_path: Path, call_dvc: Callable[..., str]
) -> None:
    leave("whole", RECIPES, tmp_path, store)
    leave("st-again", ("st",), tmp_path, store)
    plan_promotion("whole", store, checkout).write()
    promotion = plan_promotion("st-again", store, checkout)
    assert {change.stage for change in promotion.changes} == {
        "train@st-0",
        "evaluate-adversarial@st-0-quick",
        "evaluate-ood@st-0-quick",
    }
    promotion.write()
    call_dvc("pull", "--force", cwd=checkout)
    assert "st-again" in (checkout / "runs/st/seed-0/train/metrics.json").read_text()
    assert "whole" in (checkout / "runs/nofrost/seed-0/train/metrics.json").read_text()
    status = call_dvc("status", cwd=checkout)
    changed = {line.rstrip(":\n") for line in status.splitlines() if line and not line.startswith("\t")}
    assert changed == {"report"}, "only the report is out of date: it is of other runs than those in dvc.lock"
