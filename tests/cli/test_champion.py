"""`nofrost champion`: what it prints, and that errors are one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nofrost.champion.champion import Challenger, write_challenger
from nofrost.cli import cli
from nofrost.errors import UserError
from nofrost.store import open_store
from tests.champion.models import decided
from tests.champion.test_champion import champion, made_champion


def call(store: Path, *arguments: str) -> str:
    ended = CliRunner().invoke(cli, ["champion", *arguments, "--store", str(store)])
    if ended.exception:
        raise ended.exception
    return ended.stdout if "--json" in arguments else ended.output


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store in which study digits has had two champions."""
    for run in ("run-1", "run-2"):
        made_champion(run, open_store(str(tmp_path / "store")), tmp_path / "work")
    return tmp_path / "store"


def test_the_champion_is_shown_with_its_criteria(store: Path) -> None:
    shown = call(store, "show", "digits")
    assert "run: run-2\n" in shown
    assert "checkpoint: runs/sat/seed-0/train@" in shown
    assert "met  alarms: None of 1 checks for gradient masking failed." in shown
    values = json.loads(call(store, "show", "digits", "--json"))
    assert (values["run"], values["recipe"], values["gate"]["decision"]) == ("run-2", "sat", "promote")


def test_the_champion_is_shown_although_its_gate_is_deleted(store: Path) -> None:
    gate = json.loads(call(store, "show", "digits", "--json"))["gate"]
    assert gate
    opened = open_store(str(store))
    opened.delete(list(opened.objects("files/md5/")))
    assert "run: run-2\n" in call(store, "show", "digits")


def test_champions_of_all_studies_are_listed(store: Path, tmp_path: Path) -> None:
    (line,) = call(store, "show").splitlines()
    assert line.startswith("digits  ")
    assert "no study has a champion" in call(tmp_path / "empty", "show")


def test_the_history_has_the_newest_first(store: Path) -> None:
    lines = call(store, "history", "digits").splitlines()
    assert ["run-2" in lines[0], "run-1" in lines[1], len(lines)] == [True, True, 2]
    assert all(line.startswith("history/2") and line.endswith("gate  It is better.") for line in lines)
    assert [each["run"] for each in json.loads(call(store, "history", "digits", "--json"))] == ["run-2", "run-1"]
    assert "has had no champion" in call(store, "history", "other")


def test_a_champion_is_rolled_back_and_promoted(store: Path, tmp_path: Path) -> None:
    said = call(store, "rollback", "digits", "--reason", "slow")
    assert said.startswith("the champion of study digits is sat/seed-0 of run run-1 (history/")
    record = json.loads(call(store, "history", "digits", "--json"))[1]["record"]
    assert "of run run-2" in call(store, "rollback", "digits", "--to", record)
    opened = open_store(str(store))
    challenger = champion("run-3", opened, tmp_path / "work", decided("keep"))
    write_challenger(Challenger(champion=challenger, expected=None), opened)
    with pytest.raises(UserError, match="its gate decided against it"):
        call(store, "promote", "run-3")
    assert "of run run-3" in call(store, "promote", "run-3", "--force", "--reason", "approved")
    assert json.loads(call(store, "show", "digits", "--json"))["reason"] == "approved"


def test_a_study_without_a_champion_is_an_error(store: Path) -> None:
    with pytest.raises(UserError, match="study other has no champion"):
        call(store, "show", "other")


def test_a_registry_is_asked_only_where_one_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("model_registry")
    monkeypatch.setenv("NOFROST_MODEL_REGISTRY", "")
    with pytest.raises(UserError, match="NOFROST_MODEL_REGISTRY is '': give the URL"):
        call(store, "register", "digits")
    monkeypatch.setenv("NOFROST_MODEL_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="refuses or does not answer"):
        call(store, "register", "digits")
    assert "tries it again" in call(store, "rollback", "digits")
