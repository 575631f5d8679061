"""`nofrost task train`: what it hands to the task, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nofrost import tasks
from nofrost.cli import cli

GIVEN = {
    "recipe": "{}",
    "recipe_id": "sat",
    "seed": "0",
    "dataset": "data/dataset@x",
    "augmentation": "data/augmentation@x",
    "store": "s3://bucket/nofrost",
}


def train(monkeypatch: pytest.MonkeyPatch, end: BaseException | str, *options: str) -> Result:
    def task(training: tasks.Training, gpus: int, nodes: int) -> str:
        assert (training, gpus, nodes) == (tasks.Training(**GIVEN), 8, 2)
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(tasks, "train", task)
    given = [f"--{name.replace('_', '-')}={value}" for name, value in GIVEN.items()]
    return CliRunner().invoke(cli, ["task", "train", *given, "--gpus=8", "--nodes=2", *options])


@pytest.mark.parametrize("output", ["runs/sat/seed-0/train@x", ""])
def test_a_node_that_has_an_output_writes_it(output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(monkeypatch, output, f"--output-file={tmp_path / 'output'}").exit_code == 0
    assert [path.read_text() for path in tmp_path.iterdir()] == ([output] if output else [])
    assert train(monkeypatch, output).exit_code == 0


@pytest.mark.parametrize("code", [0, 2, 128, 137, 143, 200])
def test_these_ends_are_the_same_in_every_job(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_FAILURE_CODE", "201")
    assert train(monkeypatch, SystemExit(code)).exit_code == code


@pytest.mark.parametrize("end", [SystemExit(1), SystemExit(3), SystemExit(127), KeyError("a bug")])
def test_other_ends_have_the_code_of_their_job(end: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(monkeypatch, end).exit_code == (end.code if isinstance(end, SystemExit) else 1)
    monkeypatch.setenv("NOFROST_FAILURE_CODE", "201")
    result = train(monkeypatch, end)
    assert result.exit_code == 201
    assert ("KeyError: 'a bug'" in result.stderr) == isinstance(end, KeyError)
