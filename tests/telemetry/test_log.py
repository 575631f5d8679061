"""Structured logs: one event a line as JSON, with what it belongs to; sentences stay sentences unless asked for."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nofrost import errors
from nofrost.cli import main
from nofrost.errors import UserError, remark
from nofrost.telemetry import display, log, progress
from nofrost.telemetry.metrics.exposition import exposed
from tests.train.test_stage import SMALL


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOFROST_LOG", raising=False)
    monkeypatch.setattr(log, "_shared", {})
    monkeypatch.setattr(log, "_is_structured", False)
    monkeypatch.setattr(errors, "sentence_format", errors.as_text)


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_progress_is_an_event_with_what_it_belongs_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "LINE_INTERVAL_S", 0.0)
    log.begin("run-1", "")
    with exposed("train", "sat", "3"), progress("train sat, seed 3", total=2) as bar:
        bar.measured(loss=0.5)
        bar.advance(1, "epoch 1/1")
    first, last = events(capsys)
    time = datetime.fromisoformat(first.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert first.pop("message").startswith("train sat, seed 3: 1/2, ")
    assert isinstance(first.pop("remaining_s"), int)
    assert first == {
        "level": "info",
        "event": "progress",
        "run": "run-1",
        "stage": "train",
        "recipe": "sat",
        "seed": "3",
        "work": "train sat, seed 3",
        "done": 1,
        "total": 2,
        "figures": {"loss": 0.5},
    }
    assert last["event"] == "done"
    assert last["seconds"] >= 0
    log.event("message", "after the stage")
    (after,) = events(capsys)
    assert "stage" not in after


def test_numbers_that_json_does_not_have_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    log.begin("", "")
    with progress("train", total=1) as bar:
        bar.measured(loss=math.nan, lr=0.1)
    log.event("epoch", "epoch 1 is done", row=[{"loss": math.inf}])
    lines = capsys.readouterr().err.splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert first["figures"] == {"loss": None, "lr": 0.1}
    assert second["row"] == [{"loss": None}]


def test_a_process_of_several_says_its_rank(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    log.begin("", "nofrost-sat-0")
    log.event("message", "hello")
    monkeypatch.setenv("RANK", "x")  # an error of whoever depends on it
    log.event("message", "hello")
    first, second = events(capsys)
    assert (first["rank"], first["job"]) == (1, "nofrost-sat-0")
    assert "rank" not in second


@pytest.mark.parametrize(("choice", "is_json"), [("", False), ("text", False), ("json", True)])
def test_sentences_are_json_only_if_asked_for(
    choice: str, is_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_LOG", choice)
    log.begin("", "")
    remark("a \x1b[31mred\nremark")
    UserError("wrong").show()
    lines = capsys.readouterr().err.splitlines()
    if is_json:
        first, second = map(json.loads, lines)
        assert (first["level"], first["message"]) == ("warning", "nofrost: a \x1b[31mred\nremark")
        assert (second["level"], second["message"]) == ("error", "nofrost: wrong")
        assert all(line.isascii() and line.isprintable() for line in lines)
    else:
        assert lines == ["nofrost: a \\x1b[31mred\\nremark", "nofrost: wrong"]


@pytest.mark.parametrize("choice", ["text", None])
def test_text_and_a_library_write_plain_lines(
    choice: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if choice:
        monkeypatch.setenv("NOFROST_LOG", choice)
        log.begin("", "")
    log.event("epoch", "epoch 1 is done")
    with progress("work", total=1):
        pass
    assert capsys.readouterr().err == "work: done in 0.0 s\n"


def test_another_choice_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_LOG", "yaml")
    with pytest.raises(UserError, match="NOFROST_LOG is 'yaml': set it to json or text, or unset it"):
        log.begin("", "")


def test_a_command_logs_each_epoch(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = (*SMALL, "schedule.epochs=2", "schedule.batch_size=70")
    arguments = [option for each in overrides for option in ("--set", each)]
    command = ["train", "--study", "digits", "--recipe", "st", "--dataset", str(digits), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["nofrost", *command, *arguments])
    monkeypatch.setenv("NOFROST_RUN_ID", "run-2")
    main()
    written = events(capsys)
    assert {(each["run"], each["stage"], each["recipe"], each["seed"]) for each in written} == {
        ("run-2", "train", "st", "0")
    }
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    epochs = [each for each in written if each["event"] == "epoch"]
    assert [each["loss"] for each in epochs] == [row["loss"] for row in curves]
    assert not log.is_structured()
