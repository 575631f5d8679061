"""What an output must not replace is refused before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError
from nofrost.files import write_json
from tests.stage.small_stage import content, message_of, names, record, run, stage_output, whole


@pytest.mark.parametrize("kind", ["file", "link to a file"])
def test_a_file_where_the_folder_should_be_is_refused_before_any_work(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    (out if kind == "file" else tmp_path / "real").write_text("precious")
    if kind != "file":
        out.symlink_to(tmp_path / "real")
    with pytest.raises(UserError) as caught:
        run(out)
    assert "it is a file" in message_of(caught, out)
    assert out.read_text() == "precious"


def test_a_folder_that_no_stage_created_is_never_deleted(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.png").write_text("precious")
    with pytest.raises(UserError) as caught:
        run(out)
    assert "it contains 'holiday.png' and was not created by a stage" in message_of(caught, out)
    assert content(out) == {"holiday.png": "precious"}
    assert names(tmp_path) == ["photos"]


@pytest.mark.parametrize("name", [".", "..", "/", "../here"])
def test_the_current_folder_and_those_above_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(UserError) as caught:
        run(Path(name))
    message = message_of(caught, Path(name))
    assert "choose" in message
    assert names(tmp_path) == ["here"]


@pytest.mark.parametrize(
    ("out", "source", "relation"),
    [
        ("data", "data", "is an input"),
        ("data", "data/train/images.npy", "holds"),
        ("data", "data/train", "holds"),
        ("data/train/deep/out", "data", "lies in"),
        ("data/../data", "data", "is"),
        ("link", "data", "is"),
        ("data", "link", "is"),
        ("link/out", "data", "lies in"),
    ],
)
def test_an_output_that_is_holds_or_lies_in_an_input_is_refused_and_the_input_stays(
    tmp_path: Path, out: str, source: str, relation: str
) -> None:
    run(tmp_path / "data")
    (tmp_path / "data/train").mkdir()
    (tmp_path / "data/train/images.npy").write_text("precious")
    (tmp_path / "link").symlink_to("data")
    before = content(tmp_path)
    with pytest.raises(UserError) as caught, stage_output(tmp_path / out, fingerprint={}, inputs=[tmp_path / source]):
        pytest.fail("the work must not begin")
    assert f"it {relation}" in message_of(caught, tmp_path / out)
    assert content(tmp_path) == before


def test_an_output_beside_its_inputs_is_written_also_over_an_earlier_one(tmp_path: Path) -> None:
    run(tmp_path / "runs/data")
    for name in ("runs/out", "runs/data-2", "runs/dat"):
        for _ in range(2):
            inputs = [tmp_path / "runs/data", tmp_path / "missing"]
            with stage_output(tmp_path / name, fingerprint={}, inputs=inputs) as folder:
                write_json(folder / "record.json", record("new"))
    assert content(tmp_path / "runs/data") == whole("new")


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"stage": "train", "nofrost": "1"}, "it is an output of train, and test would replace it"),
        ({"stage": "test"}, "was not created by a stage (its record.json is damaged)"),
        ([], "was not created by a stage (its record.json is damaged)"),
        (None, "it contains 'a.txt' and was not created by a stage: "),
    ],
)
def test_the_output_of_another_stage_and_what_is_no_output_are_refused(tmp_path: Path, there: Any, words: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("precious")
    if there is not None:
        write_json(out / "record.json", there)
    before = content(tmp_path)
    with pytest.raises(UserError) as caught:
        run(out)
    assert words in message_of(caught, out)
    assert content(tmp_path) == before


def test_an_output_inside_another_and_one_that_holds_another_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "out")
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out/deep/inner")
    assert "an output of test, which would lose it" in message_of(caught, tmp_path / "out/deep/inner")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "out/inner")
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out")
    assert "it holds another output in inner" in message_of(caught, tmp_path / "out")


@pytest.mark.parametrize(("store", "place"), [("out/deep/store", "in deep/store"), ("out", "itself")])
def test_an_output_that_holds_a_store_is_refused(tmp_path: Path, store: str, place: str) -> None:
    run(tmp_path / "out")
    (tmp_path / store / "files/md5").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "out")
    assert f"it holds a store {place}" in message_of(caught, tmp_path / "out")
