"""The pipeline on this machine: its numbers are those of `dvc repro`, and its outcome is that of its tasks."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.errors import RunFailedError, UserError
from pipelines.cli import pipelines
from pipelines.package import canonical
from tests.child_process import running
from tests.pipelines.conftest import Program
from tests.pipelines.local_project import RUN, call, environment, executed, make_project, pipeline

SMALL = (
    "dataset.limit=200",
    "augmentation.methods=[tda]",
    "runs.recipe=[st, mbnat]",
    *(f"recipes.{name}.schedule.epochs=2" for name in ("st", "mbnat")),
    *(f"recipes.{name}.schedule.batch_size=32" for name in ("st", "mbnat")),
    "suites.adversarial.quick.attacks.apgd-ce-100.steps=5",
    "suites.adversarial.quick.attacks.square-200.queries=20",
    "suites.adversarial.quick.steps_curve.steps=[1, 2]",
    "suites.adversarial.quick.budget_curve.multiples=[1]",
    "suites.adversarial.quick.max_images=16",
    "suites.adversarial.quick.batch_size=8",
    "suites.ood.quick.severities=[1]",
    "suites.ood.quick.max_images=16",
    "suites.ood.quick.batch_size=8",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small study as its params.yaml."""
    folder = tmp_path_factory.mktemp("local") / "project"
    return make_project(folder, "digits", *(f"--set={value}" for value in SMALL))


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

    def test_run_again_it_only_notes_what_there_is(self, project: Path) -> None:
        # The first run has made a champion, which the second one evaluates.
        ended = pipeline(project, "--shards", "2")
        evaluated = [f"evaluate-{kind} champion, quick, merge" for kind in ("adversarial", "ood")]
        ran = executed(ended.stdout)
        assert set(evaluated) <= set(ran)
        assert not [task for task in ran if "seed 0" in task]
        ended = pipeline(project, "--shards", "2")
        assert executed(ended.stdout) == ["resolve", "write-candidate", "promote", "finish"]

    def test_a_task_that_fails_fails_the_run_and_what_others_made_is_kept(self, project: Path) -> None:
        changed = ("--shards", "2", "--set", "recipes.mbnat.optimiser.weight_decay=0.0004")
        ended = pipeline(project, *changed, "--set", "recipes.st.model.arch=no-such", check=False)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "train st, seed 0 (exit code 2): nofrost: unknown arch 'no-such'" in ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
        assert {"train mbnat, seed 0", "evaluate-ood mbnat, seed 0, quick, merge"} <= set(executed(ended.stdout))
        assert "report" not in executed(ended.stdout)
        assert note_of_the_last_run(project)["state"] == "failed"
        # st is the one that ran before, and mbnat was trained although the run failed.
        ended = pipeline(project, *changed)
        assert executed(ended.stdout) == ["resolve", "gate", "report", "write-candidate", "promote", "finish"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_a_run_that_is_stopped_or_killed_goes_on(self, number: signal.Signals, project: Path) -> None:
        changed = ("--set", f"recipes.st.optimiser.weight_decay=0.00{number}", "--set", "runs.recipe=[st]")
        with running((*RUN, *changed), cwd=project, env=environment(), stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout
            lines = list(iter(run.stdout.readline, "  train st, seed 0 ...\n"))
            # The run may not have noted yet that it has started the process, until that has printed something.
            log = project / "kfp/logs/train-1.log"
            while run.poll() is None and not (log.is_file() and log.stat().st_size):
                time.sleep(0.01)
            run.send_signal(number)
            lines += run.communicate(timeout=300)[0].splitlines()
        if number == signal.SIGTERM:
            assert run.returncode == 143
            assert [line for line in lines if "waiting for train st, seed 0" in line]
            assert executed("\n".join(lines))[-1] == "finish"
            assert note_of_the_last_run(project)["state"] == "failed"
        ended = pipeline(project, *changed)
        others = [task for task in executed(ended.stdout) if task != "resolve" and "champion" not in task]
        assert others[0] == "train st, seed 0"
        assert executed(ended.stdout)[-3:] == ["write-candidate", "promote", "finish"]


def note_of_the_last_run(project: Path) -> dict[str, Any]:
    """What `finish` has written; a run that failed has no candidate."""
    notes = (project.parent / "storage" / "nofrost" / "runs").glob("*.json")
    last = max(notes, key=lambda note: note.stat().st_mtime)
    note: dict[str, Any] = json.loads(last.read_text())
    assert (project.parent / "storage/nofrost/locks" / f"{last.stem}.yaml").exists() == (note["state"] == "succeeded")
    return note


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "dataset.source=folder", "--set", "dataset.path=nowhere"), "dataset.path nowhere does not exist"),
        (("--data-ref", "xyz"), "'xyz' is not a ref"),
        (("--study", "no-such"), "unknown study 'no-such'"),
        (("--set", "recipes.st.objective.name=no-such"), "unknown objective 'no-such'"),
        (("--gpus", "-1"), "'--gpus'"),
        (("--nodes", "3"), "cannot be shared equally by 3 processes"),
        (("--shards", "0"), "'--shards'"),
        (("--store", "ftp://x/y"), "ftp://x/y"),
    ],
)
def test_wrong_input_is_one_sentence_before_any_task_runs(
    arguments: tuple[str, ...],
    message: str,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = program("run", "--out", "kfp", "--store", str(tmp_path / "store"), "--study", "digits", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert " ..." not in ended.stdout


def test_a_store_that_is_a_file_is_refused_before_any_task_runs(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store, out = str(tmp_path / "file"), str(tmp_path / "kfp")
    ended = program("run", "--study", "digits", "--store", store, "--out", out)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"nofrost: store {tmp_path / 'file'} is a file: give a folder, or s3://bucket/prefix\n"


def test_a_wrong_interval_between_saves_is_refused_before_any_task_runs(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_SAVE_INTERVAL_S", "abc")
    ended = program("run", "--study", "digits", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "kfp"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("nofrost: NOFROST_SAVE_INTERVAL_S is 'abc'")


def test_tasks_get_the_interval_between_saves_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_SAVE_INTERVAL_S", "75")
    given: list[Any] = []

    def no_tasks(pipeline: Any, *_: Any) -> None:
        given.append(pipeline)
        raise RunFailedError("enough")

    monkeypatch.setattr("pipelines.local_run._run_graph", no_tasks)
    arguments = ["run", "--study", "digits", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "kfp")]
    with pytest.raises(RunFailedError):
        pipelines(arguments, standalone_mode=False)
    executors = canonical(given[0])[0]["deploymentSpec"]["executors"].values()
    variables = [variable for executor in executors for variable in executor["container"].get("env", ())]
    intervals = [variable["value"] for variable in variables if variable["name"] == "NOFROST_SAVE_INTERVAL_S"]
    assert intervals
    assert set(intervals) == {"75"}


@pytest.mark.parametrize("folder", [True, False])
def test_without_kfp_its_installation_is_named(folder: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.machinery.ModuleSpec("kfp", None, is_package=True) if folder else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(UserError, match=r"kfp is not installed here: .*\.\[pipeline"):
        pipelines(["graph", "--study", "digits"], standalone_mode=False)
