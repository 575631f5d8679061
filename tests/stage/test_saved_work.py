"""What an unfinished stage saved is continued by the same work, and deleted by other work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nofrost import stage
from nofrost.errors import StoppedError, UserError
from nofrost.files import atomic_file, write_json
from nofrost.stage import SAVE_INTERVAL, save_interval_s
from tests.stage.small_stage import content, names, run, stage_output, whole


def test_a_resumable_stage_continues_from_what_it_saved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StoppedError), stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:  # noqa: PT012
        (folder / "a.txt").write_text("saved")
        raise StoppedError
    with stage_output(out, fingerprint={"seed": 0}, resumable=True) as folder:
        assert (folder / "a.txt").read_text() == "saved"
    assert content(out) == {"a.txt": "saved"}


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"seed": 0}, {"seed": 0}, True),
        ({"seed": 0}, {"seed": 1}, False),
        ({"seed": 0}, {"seed": 0, "lr": 1}, False),
        ({"steps": (1, 2), 3: None}, {"steps": [1, 2], "3": None}, True),
        ({"lr": 0.1 + 0.2}, {"lr": 0.1 + 0.2}, True),
    ],
)
def test_saved_work_is_kept_for_the_same_fingerprint_only(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], kept: bool
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), stage_output(out, fingerprint=first, resumable=True) as folder:  # noqa: PT012
        (folder / "state").touch()
        raise RuntimeError
    with stage_output(out, fingerprint=second, resumable=True) as folder:
        assert (folder / "state").exists() == kept


@pytest.mark.parametrize("damage", ["", "{", None])
def test_saved_work_with_a_damaged_fingerprint_is_discarded(tmp_path: Path, damage: str | None) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    partial.mkdir()
    (partial / "state").touch()
    if damage is not None:
        (partial / stage.UNFINISHED).mkdir()
        (partial / stage.FINGERPRINT).write_text(damage)
    run(tmp_path / "out", resumable=True)
    assert content(tmp_path / "out") == whole("new")


def test_a_stage_that_cannot_resume_starts_with_an_empty_folder(tmp_path: Path) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    write_json(partial / stage.FINGERPRINT, {"seed": 0})
    (partial / "stale").touch()
    run(tmp_path / "out")
    assert content(tmp_path / "out") == whole("new")


def test_temporary_files_of_a_killed_run_are_no_part_of_the_output(tmp_path: Path) -> None:
    partial = tmp_path / ".out.nofrost-partial"
    (partial / "sub").mkdir(parents=True)
    write_json(partial / stage.FINGERPRINT, {"seed": 0})
    for folder in (partial, partial / "sub"):
        with atomic_file(folder / "b.txt"):
            (half,) = folder.glob(".b.txt.nofrost-tmp*")
            half.with_suffix(".copy").touch()
        half.with_suffix(".copy").rename(half)
    (partial / "saved").touch()
    run(tmp_path / "out", resumable=True)
    assert set(content(tmp_path / "out")) == {*whole("new"), "b.txt", "saved"}


def test_saved_work_that_is_discarded_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        with pytest.raises(KeyError), stage_output(tmp_path / "out", fingerprint={"seed": seed}, resumable=True):
            raise KeyError
    assert "belongs to another configuration, or to other inputs: it is deleted" in capsys.readouterr().err


def test_a_fingerprint_that_is_not_json_is_refused_before_any_work(tmp_path: Path) -> None:
    for wrong in (float("nan"), {1, 2}):
        with pytest.raises((ValueError, TypeError)), stage_output(tmp_path / "out", fingerprint={"x": wrong}):
            pytest.fail("the block must not start")
    assert names(tmp_path) == []


@pytest.mark.parametrize(("value", "seconds"), [(None, 300), ("", 300), ("60", 60), ("86400", 86400)])
def test_the_interval_of_saves_is_that_of_the_environment(
    value: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(SAVE_INTERVAL, raising=False)
    else:
        monkeypatch.setenv(SAVE_INTERVAL, value)
    assert save_interval_s() == seconds


@pytest.mark.parametrize("value", ["59", "86401", "1e3", "-300", "5 min", "３００"])
def test_another_interval_of_saves_is_an_error_that_names_the_variable(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SAVE_INTERVAL, value)
    with pytest.raises(UserError, match=f"{SAVE_INTERVAL} is .* from 60 to 86400"):
        save_interval_s()
