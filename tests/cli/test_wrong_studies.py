"""A wrong study is refused in one sentence with exit code 2 by every command that reads it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli, main
from nofrost.config import load_study, study_as_yaml
from nofrost.tasks import check_study

STARTED, FIRST = "all-n-bn-a", "all-n"
TABLE: dict[str, Any] = {"base": "zeise2025-table-1"}


@pytest.fixture(scope="module")
def spelled_out() -> dict[str, Any]:
    """A table with a row that starts from another one, as params.yaml has it."""
    study = load_study("zeise2025-table-1", [f"runs.recipe=[{STARTED}, {FIRST}]"], "tiny")
    values: dict[str, Any] = yaml.safe_load(study_as_yaml(check_study(study)))
    assert values["trainings"][f"{STARTED}-0"]["needs"] == f"runs/{FIRST}/seed-0/train"
    return values


def with_start(values: dict[str, Any], recipe: str, first: str) -> dict[str, Any]:
    start = f"runs/{first}/seed-0/train"
    training = {"options": {"recipe": recipe, "seed": 0, "start": start}, "needs": start}
    return {**values, "trainings": {**values["trainings"], f"{recipe}-0": training}}


@pytest.mark.parametrize(
    ("command", "size", "changes", "message"),
    [
        (
            "select",
            None,
            {"runs": {"recipe": ["all-x"]}},
            "unknown recipe in runs.recipe 'all-x': did you mean 'all-n'",
        ),
        ("plan", "tiny", {"sizes": {"tiny": {"recipes": {"all-m": {}}}}}, "sizes.tiny.recipes: 'all-m': did you mean"),
        (
            "show",
            None,
            {"printed": "zeise2025-table-99"},
            "mine.yaml: printed: unknown printed table or figure 'zeise2025-table-99'",
        ),
        (
            "select",
            None,
            {"printed": "galloway2019-table-1", "recipes": ["st"]},
            "galloway2019-table-1 has no row that is a recipe of",
        ),
        ("plan", "large", {}, "unknown size of study"),
        ("select", None, {"size": "paper"}, "mine.yaml: size: 'paper' is for a study that is spelled out, such as"),
        ("show", "small", {"suites": {"adversarial": {"zeise2025": 3}}}, "suites.adversarial.zeise2025: 3 is not a"),
        ("select", "tiny", {"base": "params.yaml"}, "has no sizes: leave out --size 'tiny'"),
    ],
)
def test_it_is_refused(
    command: str,
    size: str | None,
    changes: dict[str, Any],
    message: str,
    spelled_out: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(spelled_out), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TABLE | changes), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = ["--size", size] if size else []
    refused(["study", command, "mine.yaml", *options], message, monkeypatch, capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml", "params.yaml"}


@pytest.mark.parametrize("first", [STARTED, FIRST], ids=["another", "itself"])
@pytest.mark.parametrize(
    "command",
    [
        "study select params.yaml",
        "prepare --study params.yaml --out data/dataset",
        f"train --study params.yaml --recipe {FIRST} --seed 0 --dataset data/dataset --out out",
    ],
    ids=lambda command: command.split()[0],
)
def test_trainings_that_start_from_one_another_in_a_circle_are_refused(
    first: str,
    command: str,
    spelled_out: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = yaml.safe_dump(with_start(spelled_out, FIRST, first))
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    refused(command.split(), "params.yaml: trainings: a circle of starts, ", monkeypatch, capsys)
    assert (tmp_path / "params.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--size", "", "it is empty: give a text, or leave the option out"),
        ("--teraflops", "nan", "nan is not a finite number: write one, such as 20"),
        ("--teraflops", "inf", "inf is not a finite number"),
    ],
)
def test_an_option_without_a_usable_value_is_refused(option: str, value: str, message: str) -> None:
    result = CliRunner().invoke(cli, ["study", "plan", "digits", f"{option}={value}"])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': {message}" in result.stderr


def refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nofrost", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert end.value.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
