"""`dvc repro` keeps shards once: the workspace has links to DVC's cache, which no stage writes through."""

from __future__ import annotations

import configparser
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
STUDY = ("dataset.source=folder", "dataset.path=photos", "dataset.view={resize: 18, crop: 16}",
         "dataset.image_size=null", "augmentation.methods=[tda]")  # fmt: skip


def test_the_cache_of_this_project_is_linked_before_it_is_copied() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert config["cache"]["type"].replace(" ", "").split(",") == ["reflink", "hardlink", "copy"]


def call(*command: str, cwd: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NOFROST_STORE"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'components'}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "true",
    }
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of photographs, whose cache is linked by hard links alone."""
    folder = tmp_path / "project"
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.jpg")
    (folder / "components").symlink_to(ROOT / "components")
    (folder / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (folder / ".dvcignore").write_bytes((ROOT / ".dvcignore").read_bytes())
    call("dvc", "init", "--no-scm", "--quiet", cwd=folder)
    call("dvc", "config", "cache.type", "hardlink", cwd=folder)
    call("nofrost", "study", "select", "digits", *(f"--set={value}" for value in STUDY), cwd=folder)
    return folder


def links(project: Path, pattern: str) -> dict[str, os.stat_result]:
    return {path.relative_to(project).as_posix(): path.stat() for path in project.glob(pattern) if path.is_file()}


def content_of_cache(project: Path) -> dict[str, str]:
    """Return the md5 of each object in the cache by its name there, without those of folders."""
    return {
        path.parent.name + path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in (project / ".dvc" / "cache" / "files" / "md5").rglob("*")
        if path.is_file() and path.suffix != ".dir"
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shards_are_on_the_disk_once_and_a_stage_that_runs_again_leaves_the_old_ones_in_the_cache(
    project: Path,
) -> None:
    call("dvc", "repro", "--quiet", "prepare", "augment", cwd=project)
    first = links(project, "data/dataset/*/*.tar")
    assert len(first) == 3
    for name, status in {**first, **links(project, "data/augmentation/**/*.tar")}.items():
        assert status.st_nlink == 2, f"{name} lies on the disk once, and has a name in the cache"
        assert not status.st_mode & stat.S_IWUSR, f"{name} is protected"
    before = content_of_cache(project)
    changed = (*STUDY, "dataset.limit=30")
    call("nofrost", "study", "select", "digits", *(f"--set={value}" for value in changed), cwd=project)
    call("dvc", "repro", "--quiet", "prepare", "augment", cwd=project)
    again = links(project, "data/dataset/*/*.tar")
    assert {status.st_ino for status in first.values()}.isdisjoint(status.st_ino for status in again.values())
    after = content_of_cache(project)
    assert before.items() <= after.items()
    assert all(name == md5 for name, md5 in after.items()), "nothing was written through a link"
