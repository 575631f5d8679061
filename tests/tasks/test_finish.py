"""The end of a run: a note how it ended, and the candidate for dvc.lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nofrost import tasks
from nofrost.errors import StoppedError, UserError
from nofrost.store import open_store
from nofrost.tasks.ending import exit_on_error


def test_how_a_run_ended_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tasks.finish("run-1", "FAILED", "task train failed", str(tmp_path))
    note = json.loads(open_store(str(tmp_path)).get(name))
    assert {key: note[key] for key in ("run", "state", "error")} == {
        "run": "run-1",
        "state": "FAILED",
        "error": "task train failed",
    }
    assert capsys.readouterr().out == "run run-1: FAILED: task train failed\n"


@pytest.mark.parametrize(("error", "code"), [(UserError("wrong"), 2), (StoppedError("stopped"), 143)])
def test_a_task_ends_its_process_as_the_command_line_does(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_on_error
    def task() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        task()
    assert end.value.code == code
    assert capsys.readouterr().err == f"nofrost: {error}\n"


def test_a_bug_stays_a_traceback() -> None:
    @exit_on_error
    def task() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        task()
