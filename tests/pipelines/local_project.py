"""A project in a folder of its own: what `dvc repro` and `python -m pipelines run` need, and a store beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from nofrost.store import Ref, open_store, pull

ROOT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "pipelines", "run", "--out", "kfp")


def environment() -> dict[str, str]:
    """Variables by which this Python's programs come first on the path; tasks share the processors."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {name: value for name, value in os.environ.items() if name != "NOFROST_STORE"}
    python_path = f"{ROOT}{os.pathsep}{ROOT / 'components'}"
    return {**variables, "PATH": path, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}


def call(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0 or not check, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended


def pipeline(project: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return call(*RUN, *arguments, cwd=project, check=check)


def make_project(folder: Path, study: str, *options: str) -> Path:
    """Make a project whose params.yaml is a study selected with these options; its remote is the folder ``storage``."""
    folder.mkdir()
    for name in ("dvc.yaml", ".dvcignore", "data/source", "components"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name) if name == "components" else call(
            "cp", "-r", str(ROOT / name), str(folder / name), cwd=ROOT
        )
    call("dvc", "init", "--no-scm", "--quiet", cwd=folder)
    call("dvc", "remote", "add", "--default", "local", "../storage", cwd=folder)
    call("nofrost", "study", "select", study, *options, cwd=folder)
    return folder


def assert_same_metrics(project: Path) -> dict[str, Path]:
    """Run the study by the pipeline and by `dvc repro`, and compare the metrics of every stage.

    Returns:
        The folders of the outputs by their path in the project, as pulled from the store.
    """
    finished = json.loads(pipeline(project, "--json").stdout)
    call("dvc", "repro", "--quiet", cwd=project)
    storage, pulled = project.parent / "storage", project.parent / "pulled"
    outputs = yaml.safe_load((storage / "nofrost/locks" / f"{finished['run']}.yaml").read_text())["outs"]
    for path, ref in outputs.items():
        pull(Ref.parse(ref), pulled / path, open_store(str(storage)))
        assert (pulled / path / "metrics.json").read_bytes() == (project / path / "metrics.json").read_bytes(), path
    return {path: pulled / path for path in outputs}


def executed(output: str) -> list[str]:
    """The tasks that a run says to have executed, in their order."""
    return [line.strip().removesuffix(" ...") for line in output.splitlines() if line.endswith(" ...")]
