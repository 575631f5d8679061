"""Promotion writes the same dvc.lock as DVC, byte for byte, and `dvc status` is clean afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nofrost.config import Study, study_as_yaml
from nofrost.promotion import plan_promotion
from nofrost.store import Ref


def entries(lock: Path) -> dict[str, str]:
    """Return the text of each stage's entry in a dvc.lock."""
    texts: dict[str, str] = {}
    stage = ""
    for line in lock.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("  ") and line[2] not in " -":
            stage = line.strip(" :\n")
        if stage:
            texts[stage] = texts.get(stage, "") + line
    return texts


def test_the_entries_are_byte_for_byte_those_of_dvc(world: Any, clone: Path) -> None:
    plan_promotion(world.leave("whole"), world.store, clone).write()
    by_dvc, promoted = entries(world.repro / "dvc.lock"), entries(clone / "dvc.lock")
    assert promoted == {stage: text for stage, text in by_dvc.items() if stage != "notes"}
    assert set(promoted) == {"prepare", "train@st-0", "train@sat-0", "report"}


def test_the_file_is_that_of_dvc_once_every_stage_is_in_it(
    world: Any, tmp_path: Path, call_dvc: Callable[..., str]
) -> None:
    """An earlier state of the same file, brought up to date; `dvc repro` then finds nothing to do or to write."""
    project = shutil.copytree(world.repro, tmp_path / "project")
    lock = project / "dvc.lock"
    by_dvc = lock.read_bytes()
    lock.write_bytes(by_dvc.replace(b"seed: 0", b"seed: 4").replace(b"nfiles: 2", b"nfiles: 3"))
    plan_promotion(world.leave("whole"), world.store, project).write()
    assert lock.read_bytes() == by_dvc
    assert "Running stage" not in call_dvc("repro", cwd=project)
    assert lock.read_bytes() == by_dvc


def test_dvc_pull_brings_the_outputs_of_the_run_and_dvc_status_is_clean(
    world: Any, clone: Path, call_dvc: Callable[..., str]
) -> None:
    plan_promotion(world.leave("whole"), world.store, clone).write()
    call_dvc("pull", *(output.path for output in world.outputs), cwd=clone)
    assert (clone / "report.txt").read_bytes() == (world.repro / "report.txt").read_bytes()
    assert (clone / "data/dataset/images/photo").read_text() == "a photo"
    stages = [stage for stage in entries(world.repro / "dvc.lock") if stage != "notes"]
    assert "up to date" in call_dvc("status", *stages, cwd=clone)


def test_stages_that_are_not_of_the_run_do_not_change(
    world: Any, tmp_path: Path, digits_study: Callable[..., Study]
) -> None:
    """A run of one recipe, promoted after a run of both: that its study has fewer runs is not a difference."""
    project = shutil.copytree(world.repro, tmp_path / "project")
    before = entries(project / "dvc.lock")
    [dataset, st, *_] = world.outputs
    changed = type(st)(st.path, world.outputs[2].ref)
    run = world.leave("st-alone", outputs=[dataset, changed], study=digits_study("runs.recipe=[st]"))
    promotion = plan_promotion(run, world.store, project)
    assert [(change.stage, change.kind, change.name) for change in promotion.changes] == [
        ("train@st-0", "out", "runs/st/seed-0/train")
    ]
    promotion.write()
    after = entries(project / "dvc.lock")
    assert {stage for stage in before if before[stage] != after[stage]} == {"train@st-0"}
    assert list(before) == list(after)


def test_comments_and_keys_that_are_not_of_the_run_survive(world: Any, clone: Path) -> None:
    text = "schema: '2.0'\n# ours\nstages:\n  of-another-branch:\n    cmd: echo   'x'\n    outs: []\ndatasets: []\n"
    (clone / "dvc.lock").write_text(text)
    plan_promotion(world.leave("whole"), world.store, clone).write()
    text = (clone / "dvc.lock").read_text(encoding="utf-8")
    assert "# ours\n" in text
    values = yaml.safe_load(text)
    assert values["datasets"] == []
    assert next(iter(values["stages"])) == "of-another-branch"
    assert len(values["stages"]) == 5


def test_the_difference_names_what_changes(world: Any, tmp_path: Path, digits_study: Callable[..., Study]) -> None:
    project = shutil.copytree(world.repro, tmp_path / "project")
    study = digits_study("recipes.st.optimiser.lr=0.3")
    (project / "params.yaml").write_text(study_as_yaml(study), encoding="utf-8")
    [dataset, st, *_] = world.outputs
    other = type(st)(st.path, world.outputs[2].ref)
    promotion = plan_promotion(world.leave("lr", outputs=[dataset, other], study=study), world.store, project)
    changes = {(change.kind, change.name): (change.before, change.after) for change in promotion.changes}
    assert changes == {
        ("out", st.path): (str(st.ref), str(other.ref)),
        ("param", "recipes.st.optimiser.lr"): ("0.1", "0.3"),
    }


def test_a_run_that_is_in_dvc_lock_already_changes_nothing(world: Any) -> None:
    before = (world.repro / "dvc.lock").read_bytes()
    promotion = plan_promotion(world.leave("whole"), world.store, world.repro)
    assert promotion.changes == ()
    promotion.write()
    assert (world.repro / "dvc.lock").read_bytes() == before


def test_planning_writes_nothing_in_the_checkout(world: Any, clone: Path) -> None:
    before = {path: path.read_bytes() for path in clone.rglob("*") if path.is_file() and ".dvc" not in path.parts}
    assert plan_promotion(world.leave("whole"), world.store, clone).changes
    assert before == {
        path: path.read_bytes() for path in clone.rglob("*") if path.is_file() and ".dvc" not in path.parts
    }


def test_params_yaml_can_be_replaced_by_the_study_of_the_run(
    world: Any, clone: Path, digits_study: Callable[..., Study], call_dvc: Callable[..., str]
) -> None:
    study = digits_study("recipes.st.optimiser.lr=0.3", "runs.recipe=[st]", "title=eins")
    run = world.leave("of-another-study", outputs=world.outputs[:2], study=study)
    (clone / "params.yaml").unlink()
    plan_promotion(run, world.store, clone).write(params=True)
    assert (clone / "params.yaml").read_text(encoding="utf-8") == study_as_yaml(study)
    call_dvc("pull", "data/dataset", "runs/st/seed-0/train", cwd=clone)
    assert "up to date" in call_dvc("status", "prepare", "train@st-0", cwd=clone)


def test_the_source_of_the_run_is_recorded(world: Any, clone: Path) -> None:
    """When it has not been fetched here yet, and when a .dvc file describes other data."""
    source = Ref("ab" * 16 + ".dir", 1234, 5)
    world.leave("with-source", source=source)
    shutil.rmtree(clone / "data" / "source")
    promotion = plan_promotion("with-source", world.store, clone)
    assert promotion.differing_inputs == ()
    described = f"outs:\n- md5: {'cd' * 16}.dir\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: source\n"
    (clone / "data" / "source.dvc").write_text(described)
    assert plan_promotion("with-source", world.store, clone).differing_inputs == ("data/source",)
    promotion.write()
    lock = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))
    expected = {"path": "data/source", "hash": "md5", "md5": source.md5, "size": 1234, "nfiles": 5}
    assert expected in lock["stages"]["prepare"]["deps"]


def test_kill_9_while_dvc_lock_is_written_leaves_the_old_one(world: Any, tmp_path: Path) -> None:
    project = shutil.copytree(world.repro, tmp_path / "project")
    old = (project / "dvc.lock").read_bytes().replace(b"seed: 0", b"seed: 4")
    (project / "dvc.lock").write_bytes(old)
    script = f"""
import os, signal
from pathlib import Path
from nofrost.promotion import plan_promotion
from nofrost.store import open_store
promotion = plan_promotion("whole", open_store({world.store.url!r}), Path({str(project)!r}))
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
promotion.write()
"""
    world.leave("whole")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert (project / "dvc.lock").read_bytes() == old
    plan_promotion("whole", world.store, project).write()
    assert (project / "dvc.lock").read_bytes() == (world.repro / "dvc.lock").read_bytes()
