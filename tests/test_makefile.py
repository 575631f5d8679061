"""`make run` says what DVC says when it stops, and runs in a folder without a git repository; `make papers`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `make run` needs of a checkout, set up, without git; its only stage stops at once."""
    folder = tmp_path / "a project"
    for name in (".dvc/config", "Makefile", "pyproject.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text("stages:\n  prepare:\n    cmd: 'false'\n    deps:\n      - ${dataset.path}\n")
    (folder / "params.yaml").write_text("dataset: {path: nowhere}\n")
    (folder / ".venv" / "bin").mkdir(parents=True)
    later = time.time() + 1
    for name in (".python", ".run"):
        (folder / ".venv" / name).touch()
        os.utime(folder / ".venv" / name, (later, later))
    return folder


def make_run(project: Path, **variables: str) -> str:
    """Run `make run`, which must fail, and return what it printed."""
    done = subprocess.run(
        ["make", "run"], cwd=project, env={**ENVIRONMENT, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout
    assert "make run: it stopped; the line with ERROR above says where and why" in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_studies_of_the_papers_are_run_as_the_variables_say(project: Path) -> None:
    variables = [
        "STUDIES=zeise2025 galloway2019-table-1",
        "SIZE=tiny",
        "SOURCE=cifar10=/c mnist=/m",
        "PAPERS=out",
    ]
    done = subprocess.run(
        ["make", "-n", "papers", *variables], cwd=project, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert (
        "nofrost study run zeise2025 galloway2019-table-1 --size tiny --source cifar10=/c --source mnist=/m --out out;"
    ) in done.stdout


def git(*arguments: str, cwd: Path) -> None:
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True)


@contextmanager
def locked(project: Path) -> Iterator[None]:
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    with (project / ".dvc" / "tmp" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_failure_of_dvc_is_printed(project: Path) -> None:
    git("init", "-q", cwd=project)
    assert "ERROR: failed to reproduce 'prepare'" in (printed := make_run(project))
    assert "nowhere" in printed
    with locked(project):
        assert "ERROR: Unable to acquire lock" in make_run(project)
    (project / "params.yaml").write_text("runs: {recipe: [st")
    assert "ERROR: unable to read: 'params.yaml'" in make_run(project)


@pytest.mark.parametrize("kind", ["no repository", "no git", "a repository that ignores it", "a damaged repository"])
def test_a_project_needs_no_git_repository(kind: str, project: Path) -> None:
    variables = {}
    if kind == "no git":
        tools = ("awk", "cat", "grep", "make", "sh", "dvc")
        for name in tools:
            (project / ".venv" / "bin" / name).symlink_to(shutil.which(name, path=ENVIRONMENT["PATH"]) or name)
        variables = {"PATH": str(project / ".venv" / "bin")}
        git("init", "-q", cwd=project)
    elif kind == "a repository that ignores it":
        git("init", "-q", cwd=project.parent)
        (project.parent / ".gitignore").write_text("*\n")
    elif kind == "a damaged repository":
        (project / ".git").mkdir()
    assert "nowhere" in make_run(project, **variables)


def test_a_repository_that_comes_later_is_used(project: Path) -> None:
    make_run(project)
    assert "no_scm = true" in (project / ".dvc" / "config.local").read_text()
    git("init", "-q", cwd=project)
    assert "nowhere" in make_run(project)
    assert "no_scm" not in (project / ".dvc" / "config.local").read_text()


@pytest.mark.parametrize("kind", ["in a folder of a repository", "a worktree of a bare repository"])
def test_a_project_in_a_repository_is_taken_as_it_is(kind: str, project: Path) -> None:
    if kind == "in a folder of a repository":
        git("init", "-q", cwd=project.parent)
    else:
        who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        bare = project.parent / "bare.git"
        git("init", "-q", "--bare", str(bare), cwd=project)
        git("--git-dir", str(bare), "--work-tree", ".", "add", "Makefile", cwd=project)
        git(*who, "--git-dir", str(bare), "--work-tree", ".", "commit", "-qm", "x", cwd=project)
        git("--git-dir", str(bare), "worktree", "add", "-q", "--detach", "../other", cwd=project)
        shutil.copytree(project, project.parent / "other", dirs_exist_ok=True)
        project = project.parent / "other"
    assert "nowhere" in make_run(project)
    assert not (project / ".dvc" / "config.local").exists()
