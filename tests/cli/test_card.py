"""`nofrost card` prints or writes the card of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nofrost.cli import cli
from nofrost.config import load_papers
from nofrost.errors import UserError
from nofrost.results import Proportion

METRICS: dict[str, Any] = {
    "kind": "adversarial",
    "title": "Short",
    "protocol": "quick",
    "samples": 100,
    "seed": 0,
    "threat": {"norm": "linf", "eps": "8/255"},
    "subset": False,
    "cascade": False,
    "attacks": {"aa": {"name": "autoattack", "cumulative": False}},
    "accuracy": {
        name: Proportion.of(right, 100).as_json() for name, right in (("clean", 90), ("aa", 40), ("worst-case", 40))
    },
    "not_converged": [],
    "branches": {},
    "steps_curve": None,
    "budget_curve": None,
    "alarms": [],
    "properties": {},
    "weight_norms": None,
    "batch_norm": [],
    "indices_sha256": "0" * 64,
}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """A folder with the metrics of an evaluation."""
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["card", *map(str, arguments), "--name", "A model", "--authors", "A. One"])


def test_the_card_is_printed(evaluation: Path) -> None:
    card = json.loads(run(evaluation, "--venue", "ICML 2022", "--reported", "41.5", "--additional-data").output)
    assert (card["name"], card["venue"], card["reported"], card["additional_data"]) == (
        "A model",
        "ICML 2022",
        "41.50",
        True,
    )
    assert (card["clean_acc"], card["autoattack_acc"]) == ("90.00", "40.00")


def test_the_card_is_written_and_its_accuracy_printed(evaluation: Path) -> None:
    out = evaluation / "card.json"
    assert run(evaluation, "--out", out).output == f"{out}: autoattack_acc 40.00\n"
    assert json.loads(out.read_text()) == json.loads(run(evaluation).output)
    (evaluation / "metrics.json").write_text(json.dumps({**METRICS, "subset": True}))
    assert "autoattack_acc null, only 100 images were measured" in run(evaluation, "--out", out).output


def test_a_card_does_not_replace_what_it_is_made_of(evaluation: Path) -> None:
    before = (evaluation / "metrics.json").read_bytes()
    error = run(evaluation, "--out", evaluation / "x/../metrics.json").exception
    assert isinstance(error, UserError)
    assert "it is part of the evaluation" in str(error)
    assert (evaluation / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--reported", "140"], "less than or equal to 100"),
        (["--reported", "nan"], "reported: input should be a finite number, got nan"),
        (["--reported", "inf"], "reported: input should be a finite number, got inf"),
        (["--number-forward-passes", "0"], "number_forward_passes"),
        (["--out", "/proc/nofrost/card.json"], "cannot write /proc/nofrost/card.json"),
    ],
)
def test_a_mistake_is_one_message(evaluation: Path, options: list[str], words: str) -> None:
    error = run(evaluation, *options).exception
    assert isinstance(error, UserError)
    assert words in str(error)


def test_a_paper_fills_in_name_authors_link_and_venue(evaluation: Path) -> None:
    arguments = ["card", str(evaluation), "--paper", "xie2020", "--venue", "arXiv"]
    card = json.loads(CliRunner().invoke(cli, arguments, catch_exceptions=False).output)
    assert (card["authors"], card["venue"]) == ("Cihang Xie, Alan Yuille", "arXiv")
    assert card["name"] == load_papers()["xie2020"].title
    assert card["link"] == load_papers()["xie2020"].link
    with pytest.raises(UserError, match="unknown paper 'xie'"):
        CliRunner().invoke(cli, ["card", str(evaluation), "--paper", "xie"], catch_exceptions=False)
