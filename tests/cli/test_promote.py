"""`nofrost promote list|show|promote`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nofrost.cli.promote import promote
from nofrost.config import load_study, study_as_yaml
from nofrost.errors import UserError
from nofrost.promotion import write_candidate
from nofrost.store import Output, open_store, push
from tests.child_process import running

pytestmark = pytest.mark.slow

DVC_YAML = """
stages:
  train:
    cmd: train
    params:
      - recipes.st
    outs:
      - runs/st/seed-0/train
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, which is the current folder; its DVC remote is ../remote."""
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\nno_scm = true\nremote = r\n['remote \"r\"']\nurl = ../../remote\n")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text(study_as_yaml(load_study("digits")), encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("NOFROST_STORE", raising=False)
    return folder


def leave(run: str, project: Path, weights: str = "weights", *overrides: str) -> Output:
    """Let a run end in the remote of the project; return its output."""
    store = open_store(str(project.parent / "remote"))
    made = project.parent / "pods" / run
    made.mkdir(parents=True)
    (made / "weights").write_text(weights)
    output = Output("runs/st/seed-0/train", push(made, store))
    study = load_study("digits", overrides)
    write_candidate([output], study=study, run=run, image="image@1", source=None, store=store)
    return output


def call(*arguments: str) -> Result:
    """Run `nofrost promote ...` without a terminal."""
    return CliRunner().invoke(promote, arguments, standalone_mode=False)


def test_runs_are_listed_newest_first(project: Path) -> None:
    leave("first", project)
    leave("second-run", project)
    store = open_store(str(project.parent / "remote"))
    old = store.get("nofrost/locks/first.yaml").decode().replace("finished: '2", "finished: '1", 1)
    store.put("nofrost/locks/first.yaml", old.encode())
    lines = call("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["second-run", "first"]
    assert lines[0].endswith("Z  digits, 1 outputs")
    listed = json.loads(call("list", "--json").stdout)
    assert [(about["run"], about["study"], about["outputs"]) for about in listed] == [
        ("second-run", "digits", 1),
        ("first", "digits", 1),
    ]


def test_a_damaged_candidate_does_not_hide_the_others(project: Path) -> None:
    leave("good", project)
    open_store(str(project.parent / "remote")).put("nofrost/locks/bad.yaml", b"[")
    result = call("list")
    assert result.stdout.startswith("good ")
    assert "nofrost/locks/bad.yaml" in result.stderr
    assert "damaged" in result.stderr


def test_a_store_that_is_not_there_is_reported(project: Path) -> None:
    result = call("list", "--store", "nowhere")
    assert isinstance(result.exception, UserError)
    assert "there is no store at nowhere" in str(result.exception)


def test_an_empty_store_is_reported(project: Path) -> None:
    (project.parent / "remote").mkdir(exist_ok=True)
    result = call("list")
    assert result.stdout == ""
    assert "no run has left a candidate in" in result.stderr
    assert json.loads(call("list", "--json").stdout) == []


def test_show_prints_the_difference_and_writes_nothing(project: Path) -> None:
    output = leave("run-1", project)
    result = call("show", "run-1")
    assert f"nothing -> {output.ref.md5[:8]}, 7 bytes, 1 file\n" in result.stdout
    assert "run run-1 of study digits, finished 2" in result.stdout
    assert result.stderr == ""
    assert not (project / "dvc.lock").exists()


def test_show_as_json_has_every_change_and_objection(project: Path) -> None:
    output = leave("run-1", project, "weights", "recipes.st.optimiser.lr=0.7")
    shown = json.loads(call("show", "run-1", "--json").stdout)
    assert {"stage": "train", "kind": "out", "name": output.path, "before": None, "after": str(output.ref)} in shown[
        "changes"
    ]
    assert shown["run"] == "run-1"
    [sentence] = shown["against"]
    assert "recipes.st.optimiser.lr: 0.1 here, 0.7 in the run" in sentence
    assert sentence in call("show", "run-1").stderr


def test_promote_prints_the_difference_and_the_next_command(project: Path) -> None:
    output = leave("run-1", project)
    result = call("run-1", "--yes")
    assert result.exception is None
    assert "train (new)\n  out " in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "dvc.lock written, stages taken from run run-1: 1. Next: git diff dvc.lock, then dvc pull"
    )
    assert output.ref.md5 in (project / "dvc.lock").read_text()


def test_of_a_stage_that_dvc_lock_knows_only_what_changes_is_shown(project: Path) -> None:
    old = leave("run-1", project)
    call("run-1", "--yes")
    new = leave("run-2", project, "better weights")
    assert call("show", "run-2").stdout.splitlines()[1:] == [
        "train",
        f"  out    {new.path}  {old.ref.md5[:8]}, 7 bytes, 1 file -> {new.ref.md5[:8]}, 14 bytes, 1 file",
    ]


def test_promoting_twice_changes_nothing(project: Path) -> None:
    leave("run-1", project)
    call("run-1", "--yes")
    before = (project / "dvc.lock").read_bytes()
    result = call("run-1")
    assert result.exception is None
    assert result.stdout.endswith("nothing to promote: dvc.lock already has the outputs of the run\n")
    assert (project / "dvc.lock").read_bytes() == before


def test_without_a_terminal_nothing_is_written_unless_yes_is_given(project: Path) -> None:
    leave("run-1", project)
    result = call("run-1")
    assert isinstance(result.exception, UserError)
    assert "--yes" in str(result.exception)
    assert not (project / "dvc.lock").exists()


def test_another_study_is_refused_before_asking_and_written_with_params(project: Path) -> None:
    leave("run-1", project, "weights", "recipes.st.optimiser.lr=0.7")
    refused = call("run-1", "--yes", "--force")
    assert "--params" in str(refused.exception)
    assert not (project / "dvc.lock").exists()
    result = call("run-1", "--yes", "--params")
    assert result.stdout.splitlines()[-1].startswith(
        "params.yaml and dvc.lock written, stages taken from run run-1: 1."
    )
    assert "lr: 0.7" in (project / "params.yaml").read_text()
    assert "lr: 0.7" in (project / "dvc.lock").read_text()


def test_another_store_can_be_named(project: Path, tmp_path: Path) -> None:
    leave("run-1", project)
    (tmp_path / "remote").rename(tmp_path / "elsewhere")
    assert "run-1" in call("list", "--store", str(tmp_path / "elsewhere")).stdout
    assert call("run-1", "--yes", "--store", str(tmp_path / "elsewhere")).exception is None


def test_standard_output_is_json_and_nothing_else(project: Path) -> None:
    """DVC reports its own doings on standard output, in a process of its own."""
    leave("run-1", project)
    command = [sys.executable, "-m", "nofrost", "promote", "show", "run-1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["run"] == "run-1"


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_promote_asks(project: Path, answer: str, written: bool) -> None:
    leave("run-1", project)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from nofrost.cli.promote import promote; promote()", "run-1"]
    with running(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(ours, f"{answer}\n".encode())
        out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "Write this to dvc.lock? [y/N]" in out + err
    assert (project / "dvc.lock").exists() == written
    assert process.returncode == (0 if written else 1)
