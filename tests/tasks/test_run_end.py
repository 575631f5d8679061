"""How a run ended is decided by what it left in the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.store import open_store
from nofrost.tasks import run_end
from nofrost.tasks.task_errors import record_error


def end(run: str, store: Path, state: str = "RUNNING") -> dict[str, Any]:
    name = tasks.finish(run, state, str(store))
    assert name == f"nofrost/runs/{run}.json"
    record: dict[str, Any] = json.loads(open_store(str(store)).get(name))
    assert record["run"] == run
    assert record["kubeflow"] == state
    return record


@pytest.mark.parametrize("state", ["COMPLETE", "RUNNING", "FAILED", ""])
def test_a_run_with_a_candidate_has_succeeded_whatever_kubeflow_says(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(str(tmp_path)).put("nofrost/locks/run-1.yaml", b"schema: 1\n")
    assert end("run-1", tmp_path, state)["state"] == "succeeded"
    assert capsys.readouterr().out == "run run-1: succeeded\n"
    assert end("run", tmp_path, state)["state"] == "failed", "the candidate is another run's"


def test_a_run_whose_promotion_failed_has_failed_although_its_candidate_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")
    open_store(str(tmp_path)).put("nofrost/locks/run-1.yaml", b"schema: 1\n")
    record_error("train sat, seed 0", 143, "of an earlier try", str(tmp_path))
    assert end("run-1", tmp_path)["state"] == "succeeded"
    record_error("promote", 2, "the checkpoint is gone", str(tmp_path))
    assert "promote ended with 2: the checkpoint is gone" in end("run-1", tmp_path)["error"]


def test_a_part_of_a_study_has_succeeded_when_its_outputs_are_recorded(tmp_path: Path) -> None:
    tasks.record_outputs({"dataset": "data/dataset@1"}, "run-1", str(tmp_path))
    assert end("run-1", tmp_path)["state"] == "succeeded"


def test_the_record_of_a_failed_run_names_the_errors_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")
    record_error("train sat, seed 0", 2, "memory does not suffice", str(tmp_path))
    open_store(str(tmp_path)).put("nofrost/runs/run-1/errors/x.json", b'{"another": "thing"}')
    monkeypatch.setenv("NOFROST_RUN_ID", "run-2")
    record_error("train st, seed 0", 1, "of another run", str(tmp_path))
    record = end("run-1", tmp_path, "COMPLETE")
    assert record["state"] == "failed"
    assert record["error"] == "train sat, seed 0 ended with 2: memory does not suffice"
    (error,) = record["errors"]
    assert (error["task"], error["exit_code"]) == ("train sat, seed 0", 2)
    said = capsys.readouterr()
    assert said.out == f"run run-1: failed: {record['error']}\n"
    assert "x.json" in said.err


def test_a_run_that_failed_without_an_error_of_a_task_ended_without_a_word(tmp_path: Path) -> None:
    assert "it left no error" in end("run-1", tmp_path / "store that nothing was pushed to", "FAILED")["error"]


def test_jobs_that_may_be_left_are_said_and_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(run_end, "delete_run_jobs", lambda run: asked.append(run) or ["pytorchjobs may be left"])
    open_store(str(tmp_path)).put("nofrost/locks/run-1.yaml", b"")
    assert end("run-1", tmp_path)["state"] == "succeeded"
    assert asked == ["run-1"]
    assert "nofrost: pytorchjobs may be left\n" in capsys.readouterr().err


def test_jobs_are_deleted_although_the_store_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(run_end, "delete_run_jobs", lambda run: asked.append(run) or [])
    (tmp_path / "store").write_text("a file")
    with pytest.raises(SystemExit):
        tasks.finish("run-1", "COMPLETE", str(tmp_path / "store"))
    assert asked == ["run-1"]
