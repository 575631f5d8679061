"""`nofrost data`: what it prints, and how it exits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.cli import cli, main
from nofrost.config import DatasetSpec
from nofrost.data.dataset_card import list_cards, load_card
from nofrost.prepare import run as prepare
from nofrost.store import Ref, open_store, push, resolve_ref

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `nofrost data ...` with the store of a folder, and returns exit code, output and errors."""
    monkeypatch.setenv("NOFROST_STORE", str(tmp_path / "store"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nofrost", "data", *arguments])
        try:
            main(cli)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def refs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[Ref]:
    """Two files that are in the store."""
    refs = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        refs.append(push(tmp_path / name, open_store(str(tmp_path / "store"))))
    capsys.readouterr()
    return refs


def test_what_was_released_is_the_newest_data_and_in_the_history(run: Run, refs: list[Ref], tmp_path: Path) -> None:
    for ref in refs:
        assert run("release", "photos", str(ref))[:2] == (0, f"latest:photos is {ref}\n")
    assert resolve_ref("latest:photos", open_store(str(tmp_path / "store"))) == refs[1]
    code, out, _ = run("history", "photos")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == [str(refs[1]), str(refs[0])]
    releases = json.loads(run("history", "photos", "--json")[1])
    assert [each["ref"] for each in releases] == [str(refs[1]), str(refs[0])]


def test_what_push_prints_can_be_released(run: Run, refs: list[Ref]) -> None:
    assert run("release", "photos", f"some@where/photos@{refs[0]}")[:2] == (0, f"latest:photos is {refs[0]}\n")


def test_released_twice_it_is_said_since_when(run: Run, refs: list[Ref]) -> None:
    assert json.loads(run("release", "photos", str(refs[0]), "--json")[1])["new"] is True
    # The address alone is the same data.
    code, out, err = run("release", "photos", refs[0].md5, "--json")
    assert (code, json.loads(out)) == (0, {"name": "photos", "ref": str(refs[0]), "new": False})
    assert "since 20" in err
    assert len(json.loads(run("history", "photos", "--json")[1])) == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("release", "photos", "0" * 32), "0" * 32),
        (("release", "photos", "newest"), "newest"),
        (("release", "pho/tos", "0" * 32), "pho/tos"),
        (("history", "../photos"), "../photos"),
    ],
)
def test_a_mistake_gets_one_sentence(arguments: tuple[str, ...], word: str, run: Run, refs: list[Ref]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1


def test_a_name_without_releases_has_an_empty_history(run: Run) -> None:
    code, out, err = run("history", "photos")
    assert (code, out) == (0, "")
    assert "photos" in err


def test_every_card_is_listed(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list_cards()
    assert list(json.loads(run("list", "--json")[1])) == list_cards()


def test_a_card_shows_terms_files_and_quirks(run: Run) -> None:
    code, out, _ = run("show", "stl10")
    card = load_card("stl10")
    assert code == 0
    assert all(text in out for text in (card.licence, card.url, card.files[0].md5, "2,640,397,119", *card.quirks))
    assert json.loads(run("show", "stl10", "--json")[1]) == {"name": "stl10", **card.as_json()}


def test_an_unknown_card_is_one_sentence(run: Run) -> None:
    code, out, error = run("show", "imagnet")
    assert (code, out) == (2, "")
    assert "did you mean 'imagenet'?" in error
    assert error.count("\n") == 1


def test_verify_prints_a_line_for_each_fault_and_exits_with_2(run: Run, tmp_path: Path) -> None:
    prepare(DatasetSpec(limit=60), tmp_path / "dataset")
    folder = str(tmp_path / "dataset")
    assert run("verify", folder)[:2] == (0, f"{folder}: 60 images, no fault\n")
    (tmp_path / "dataset" / "record.json").unlink()
    (tmp_path / "dataset" / "stray").touch()
    code, out, err = run("verify", folder)
    assert (code, len(out.splitlines())) == (2, 2)
    assert "has 2 faults" in err
    code, out, _ = run("verify", folder, "--json")
    assert (code, len(json.loads(out)["faults"]), json.loads(out)["images"]) == (2, 2, 60)
