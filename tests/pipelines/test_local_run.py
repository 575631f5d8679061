"""The pipeline on this machine: its numbers are those of `dvc repro`, and its outcome is that of its tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = (
    "dataset.limit=200",
    "augmentation.methods=[tda]",
    "runs.recipe=[st, mbnat]",
    *(f"recipes.{name}.schedule.epochs=2" for name in ("st", "mbnat")),
    *(f"recipes.{name}.schedule.batch_size=32" for name in ("st", "mbnat")),
    "suites.adversarial.attacks.apgd-ce-100.steps=5",
    "suites.adversarial.steps_curve.steps=[1, 2]",
    "suites.adversarial.batch_size=16",
    "suites.ood.severities=[1]",
    "suites.ood.batch_size=16",
)


def call(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command with this Python's programs first on the path; tasks share the processors."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'components'}",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("NOFROST_STORE", None)
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0 or not check, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended


def pipeline(project: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pipelines", "run", "--out", "kfp", *arguments)
    return call(*command, cwd=project, check=check)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what `dvc repro` needs, a small study as its params.yaml, and a local remote beside it."""
    folder = tmp_path_factory.mktemp("local") / "project"
    folder.mkdir()
    for name in ("dvc.yaml", ".dvcignore", "data/source", "components"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name) if name == "components" else call(
            "cp", "-r", str(ROOT / name), str(folder / name), cwd=ROOT
        )
    call("dvc", "init", "--no-scm", "--quiet", cwd=folder)
    call("dvc", "remote", "add", "--default", "local", "../storage", cwd=folder)
    call("nofrost", "study", "select", "digits", *(f"--set={value}" for value in SMALL), cwd=folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestARun:
    """In order: each test continues from the state that the one before left."""

    def test_it_gives_the_metrics_and_outputs_of_dvc_repro(self, project: Path) -> None:
        ended = pipeline(project, "--shards", "2", "--json")
        finished = json.loads(ended.stdout)
        call("dvc", "repro", "--quiet", cwd=project)
        of_pipeline = json.loads((Path(finished["report"]).parent / "metrics.json").read_text())
        assert of_pipeline == json.loads((project / "report" / "metrics.json").read_text())
        candidate = yaml.safe_load((project.parent / "storage/nofrost/locks" / f"{finished['run']}.yaml").read_text())
        ours = {path: ref.split(":")[0] for path, ref in candidate["outs"].items()}
        stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
        theirs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
        timed = {path for path in ours if path.endswith("/train")}  # timing.json holds seconds
        assert ours.keys() == theirs.keys()
        assert {path for path in ours if ours[path] != theirs[path]} <= timed | {"report"}
        evaluated = {path for path in ours if "evaluate" in path}
        assert len(evaluated) == 4
        assert all(ours[path] == theirs[path] for path in evaluated), "checkpoints or attacks differ"

    def test_run_again_all_but_the_notes_come_from_the_cache(self, project: Path) -> None:
        ended = pipeline(project, "--shards", "2")
        executed = {line.split(":")[0].strip() for line in ended.stdout.splitlines() if line.startswith("  ")}
        assert {name.removesuffix(" ...") for name in executed} <= {"report", "write-candidate", "finish"}

    def test_a_changed_recipe_trains_that_one_again(self, project: Path) -> None:
        ended = pipeline(project, "--shards", "2", "--set", "recipes.st.optimiser.weight_decay=0.0004")
        trained = [line for line in ended.stdout.splitlines() if line.startswith("  train") and "done" in line]
        assert len(trained) == 1
        assert "train st seed 0" in trained[0]

    def test_a_task_that_fails_fails_the_run(self, project: Path) -> None:
        wrong = ("--set", "recipes.st.model.arch=no-such", "--shards", "2")
        ended = pipeline(project, *wrong, check=False)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "train st seed 0 (exit code 2): nofrost: unknown arch 'no-such'" in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
        assert "finish: done" in ended.stdout, "the exit task runs whatever happened"
        notes = sorted((project.parent / "storage/nofrost/runs").glob("*.json"), key=lambda note: note.stat().st_mtime)
        assert json.loads(notes[-1].read_text())["state"] == "failed"
        assert not (project.parent / "storage/nofrost/locks" / f"{notes[-1].stem}.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "dataset.source=folder", "--set", "dataset.path=nowhere"), "dataset.path nowhere does not exist"),
        (("--data-ref", "xyz"), "'xyz' is not a ref"),
        (("--study", "no-such"), "unknown study 'no-such'"),
        (("--set", "recipes.st.objective.name=no-such"), "unknown objective 'no-such'"),
        (("--gpus", "2"), "'--gpus'"),
        (("--shards", "0"), "'--shards'"),
        (("--store", "ftp://x/y"), "ftp://x/y"),
    ],
)
def test_wrong_input_is_one_sentence_before_any_task_runs(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    given = ("--store", str(tmp_path / "store"), "--study", "digits", *arguments)
    ended = pipeline(tmp_path, *given, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert " ..." not in ended.stdout
