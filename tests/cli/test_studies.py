"""`nofrost study`: the sizes of a study, and the printed numbers that studies stand beside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import load_printed, load_study, printed_names
from nofrost.errors import UserError


def output(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["study", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def sized(tmp_path: Path) -> Path:
    """A study with the size small."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({"base": "digits", "sizes": {"small": {"dataset": {"limit": 99}}}}), encoding="utf-8"
    )
    return path


def test_a_size_is_selected(sized: Path, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    assert "study digits, size small, 4 recipes, 1 seeds" in output(
        "select", str(sized), "--size", "small", "--out", str(params)
    )
    assert (load_study(params).size, load_study(params).dataset.limit) == ("small", 99)
    assert yaml.safe_load(output("show", str(sized), "--size", "small"))["dataset"]["limit"] == 99
    assert json.loads(output("show", str(sized), "--json"))["size"] == "paper"


def test_a_size_that_is_not_there_is_refused(sized: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'small'"):
        output("show", str(sized), "--size", "smal")


def test_studies_are_listed_with_what_they_cost_at_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "galloway2019-figure-1"
    # The second is without the size, the third of another paper.
    monkeypatch.setattr("nofrost.config.shipped_names", lambda kind: [name, "digits", "xie2020-figure-2"])
    (values,) = (listed := json.loads(output("list", "--paper", "galloway2019", "--size", "tiny", "--json"))).values()
    assert list(listed) == [name]
    planned = json.loads(output("plan", name, "--size", "tiny", "--json"))
    assert (values["trainings"], values["gpu_hours"]) == (planned["trainings"], pytest.approx(planned["gpu_hours"]))
    assert 0 < values["minutes"] < 60
    (line,) = output("list", "--paper", "galloway2019", "--size", "tiny").splitlines()
    assert re.search(r"tiny, small, paper +2 trainings +\d+\.\d min here +[\d.e-]+ GPU h +gaussians", line)


def test_a_study_of_images_that_nobody_has_counted_is_listed_without_its_cost(
    monkeypatch: pytest.MonkeyPatch, sized: Path
) -> None:
    sized.write_text(sized.read_text() + "dataset: {source: folder, path: photos, image_size: 32}\n", encoding="utf-8")
    monkeypatch.setattr("nofrost.config.shipped_names", lambda kind: [str(sized)])
    assert "trainings  -  - " in output("list", "--size", "small")


def test_a_size_that_no_study_has_is_refused_in_the_list() -> None:
    with pytest.raises(UserError, match="unknown size 'smal': did you mean 'small'"):
        output("list", "--size", "smal")


def test_every_printed_table_is_listed() -> None:
    assert {each["id"] for each in json.loads(output("printed", "--json"))} == set(printed_names())
    assert output("printed").startswith("wang2022-figure-1 ")


def test_a_printed_table_is_shown_with_its_claims() -> None:
    text = output("printed", "zeise2025-table-1")
    assert "Zeise & Vlaar 2025, Table 1: Retraining batch norms or all the rest of ResNet-18" in text
    line = next(line for line in text.splitlines() if line.startswith("all-n-bn-a"))
    assert line.split()[:4] == ["all-n-bn-a", "zeise2025-all-n-bn-a", "9,600", "1.243"]
    assert "0.62 ± 0.004" in line
    assert "- retraining batch norms alone brings" in text
    assert json.loads(output("printed", "zeise2025-table-1", "--json"))["rows"]["all-n"]["values"]["adv-acc"] == 0


@pytest.mark.parametrize("name", ["galloway2019-table-6", "wang2022-figure-1", "xie2020-figure-4", "galloway2019-text"])
def test_ranges_differences_and_empty_tables_are_shown_too(name: str) -> None:
    assert load_printed(name).title in output("printed", name)


def test_an_unknown_table_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'wang2022-table-1'"):
        output("printed", "wang2022-tabel-1")
