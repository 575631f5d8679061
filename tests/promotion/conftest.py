"""A project of four tiny stages, the outputs of `dvc repro` in it, and the store to which a run pushed the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import nofrost
from nofrost.config import Study, load_study, study_as_yaml
from nofrost.promotion import write_candidate
from nofrost.store import Output, Ref, Store, open_store, push

ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
RECIPES = ("st", "sat")
OUTPUTS = ("data/dataset", *(f"runs/{recipe}/seed-0/train" for recipe in RECIPES), "report.txt")
DVC_YAML = """
stages:
  notes:
    cmd: echo "not of the run" > notes.txt
    outs:
      - notes.txt
  prepare:
    cmd:
      - mkdir -p data/dataset/images
      - cp data/source/* data/dataset/images
      - echo ${dataset.seed} > data/dataset/seed
    deps:
      - ${dataset.path}
      - components/nofrost/transforms
    params:
      - dataset
    outs:
      - data/dataset
  train:
    matrix:
      recipe: ${runs.recipe}
      seed: ${runs.seed}
    cmd: >-
      mkdir -p runs/${item.recipe}/seed-${item.seed}/train &&
      echo "${item.recipe} ${item.seed}" > runs/${item.recipe}/seed-${item.seed}/train/weights
    deps:
      - data/dataset
      - components/nofrost/models
    params:
      - recipes.${item.recipe}
    outs:
      - runs/${item.recipe}/seed-${item.seed}/train
  report:
    cmd: find runs -type f | sort > report.txt
    deps:
      - runs
    params:
      - title
      - runs
    outs:
      - report.txt
"""


def dvc(*arguments: str, cwd: Path) -> str:
    """Run DVC and return what it printed."""
    end = subprocess.run(["dvc", *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert end.returncode == 0, f"dvc {' '.join(arguments)}\n{end.stdout}\n{end.stderr}"
    return end.stdout + end.stderr


@cache
def study_of(*overrides: str) -> Study:
    return load_study("digits", (f"runs.recipe=[{', '.join(RECIPES)}]", "title=Prüfung", *overrides))


def make_project(folder: Path, remote: Path) -> Path:
    """Write a project without anything that a stage makes."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text(
        f"[core]\nno_scm = true\nanalytics = false\nremote = local\n['remote \"local\"']\nurl = {remote}\n"
    )
    (folder / ".dvcignore").write_text("__pycache__\n*.pyc\n")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text(study_as_yaml(study_of()), encoding="utf-8")
    (folder / "data" / "source").mkdir(parents=True)
    (folder / "data" / "source" / "photo").write_text("a photo")
    for name in ("transforms", "models"):
        shutil.copytree(Path(nofrost.__file__).parent / name, folder / "components" / "nofrost" / name)
        (folder / "components" / "nofrost" / name / "__pycache__").mkdir(exist_ok=True)
        (folder / "components" / "nofrost" / name / "__pycache__" / "of-another-python.pyc").write_text("compiled")
    return folder


@dataclass(frozen=True)
class World:
    """The store and the projects of the tests.

    Attributes:
        repro: a project in which `dvc repro` ran.
        store: where the run pushed its outputs, and the DVC remote of every project here.
        outputs: of the run, the same as those of `dvc repro`.
    """

    repro: Path
    store: Store
    outputs: tuple[Output, ...]

    def clone(self, folder: Path) -> Path:
        """Return a fresh project that has nothing but the remote."""
        return make_project(folder, Path(self.store.url))

    def leave(
        self, run: str, *, outputs: Sequence[Output] = (), study: Study | None = None, source: Ref | None = None
    ) -> str:
        """Write the candidate of a run; return its id."""
        study = study or study_of()
        write_candidate(outputs or self.outputs, study=study, run=run, image="image@1", source=source, store=self.store)
        return run


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The outputs of DVC and of a run of the pipeline for one study. Read only, except for new candidates."""
    remote = tmp_path_factory.mktemp("remote")
    repro = make_project(tmp_path_factory.mktemp("repro") / "project", remote)
    dvc("repro", cwd=repro)
    store = open_store(str(remote))
    return World(repro, store, tuple(Output(path, push(repro / path, store)) for path in OUTPUTS))


@pytest.fixture
def clone(world: World, tmp_path: Path) -> Path:
    return world.clone(tmp_path / "clone")


@pytest.fixture(scope="session")
def call_dvc() -> Callable[..., str]:
    """Run DVC with these arguments in the folder `cwd` and return what it printed."""
    return dvc


@pytest.fixture(scope="session")
def digits_study() -> Callable[..., Study]:
    """Return the study of the tiny project with overrides on top."""
    return study_of
