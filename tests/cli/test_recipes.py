"""`nofrost recipes`: the list, a recipe in full, two recipes side by side, and the table in the documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import Recipe, load_papers, load_recipe, shipped_names
from nofrost.errors import UserError

DOCUMENT = Path(__file__).parents[2] / "docs/recipes.md"


def output(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["recipes", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def parsed(*arguments: str) -> Any:
    return json.loads(output(*arguments, "--json"))


def test_every_recipe_is_listed_with_its_citation() -> None:
    rows = {row["recipe"]: row for row in parsed("list")}
    assert sorted(rows) == shipped_names("recipe")
    assert rows["sat"]["citation"] == load_recipe("sat").citation
    assert rows["nofrost"]["model"] == "resnet50 nf"
    assert rows["nofrost"]["threat"] == "linf 8/255, pgd x 10"
    assert rows["tda"]["threat"] == "none"
    assert rows["zeise2025-all-n-bn-a"]["objective"] == "st, then pgdat (bn)"
    assert rows["fast"]["schedule"] == "6 epochs of 512, 6 epochs of 224, 3 epochs of 128"
    heading, *lines = output("list").splitlines()
    assert heading.split() == ["recipe", "model", "objective", "threat", "schedule", "citation"]
    assert [line.split()[0] for line in lines] == list(rows)


def test_the_recipes_of_one_paper_are_those_that_come_from_it() -> None:
    rows = parsed("list", "--paper", "galloway2019")
    shipped = {name for name in shipped_names("recipe") if name.startswith("galloway2019-")}
    assert {row["recipe"] for row in rows} == shipped
    assert {row["citation"].split()[0].rstrip(",") for row in rows} == {"galloway2019"}


def test_the_objectives_are_listed_with_their_settings() -> None:
    known = parsed("list", "--objectives")
    assert {"st", "sat", "pgdat", "trades", "fat", "trades-fat", "mbnat", "alp", "free", "fast"} <= set(known)
    assert known["trades"]["beta"] == 1.0
    assert "replays=4" in next(line for line in output("list", "--objectives").splitlines() if line.startswith("free"))


def test_a_recipe_is_shown_with_its_phases_spelled_out(tmp_path: Path) -> None:
    values = yaml.safe_load(output("show", "xie2020-bn-clean", "--set", "schedule.batch_size=64"))
    assert values == parsed("show", "xie2020-bn-clean", "--set", "schedule.batch_size=64")
    second = values["phases"]["bn-clean"]
    assert (second["objective"]["name"], second["trainable"]) == ("st", "bn")
    assert (second["schedule"]["epochs"], second["schedule"]["batch_size"]) == (5, 64)
    assert second["threat"] == values["threat"]
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    assert yaml.safe_load(output("show", str(own))) == values


def test_diff_prints_the_keys_that_differ() -> None:
    differing = parsed("diff", "sat", "nofrost")
    assert differing["model.normaliser"] == ["bn", "nf"]
    assert set(differing) == {"title", "citation", "model.normaliser"}
    assert parsed("diff", "sat", "st")["objective.adversarial_weight"] == [0.5, None]
    assert parsed("diff", "zeise2025-all-a", "zeise2025-all-n-bn-a")["phases.bn-a.trainable"] == [None, "bn"]
    lines = output("diff", "sat", "nofrost").splitlines()
    assert lines[0].split() == ["key", "sat", "nofrost"]
    assert lines[-1].split() == ["model.normaliser", "bn", "nf"]
    assert output("diff", "sat", "sat") == "sat and sat are the same\n"


def test_the_table_in_the_documentation_is_that_of_the_recipes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    remake = f"sed -i '/^| recipe/,$d' docs/{DOCUMENT.name} && nofrost recipes list --markdown >> docs/{DOCUMENT.name}"
    assert text.endswith(output("list", "--markdown")), f"make it anew: {remake}"
    assert remake in text, "and it says how"


def test_a_recipe_file_can_be_shown_and_compared(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("base: sat\nthreat: {eps: 4/255}\n", encoding="utf-8")
    assert parsed("diff", "sat", str(own)) == {"threat.eps": ["8/255", "4/255"]}
    assert Recipe.model_validate(parsed("show", str(own))) == load_recipe(own)


def test_the_papers_are_printed_with_key_authors_title_venue_and_link() -> None:
    text = CliRunner().invoke(cli, ["papers"], catch_exceptions=False).output
    listed = json.loads(CliRunner().invoke(cli, ["papers", "--json"], catch_exceptions=False).output)
    assert [paper["key"] for paper in listed] == list(load_papers())
    for paper in listed:
        assert f"{paper['key']}: {paper['reference']}" in text
        for value in (", ".join(paper["authors"]), paper["title"], f"{paper['venue']} {paper['year']}", paper["link"]):
            assert value in text
        assert paper["summary"] in " ".join(text.split())


def test_a_recipe_is_listed_with_authors_and_year() -> None:
    assert "Xie & Yuille 2020 §4.2 (GN" in output("list", "--paper", "xie2020")
    assert "xie2020 §" not in output("list")


def test_an_unknown_paper_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown paper 'xie'.*wang2022"):
        output("list", "--paper", "xie")


def test_studies_are_listed_with_the_papers_of_their_recipes() -> None:
    text = CliRunner().invoke(cli, ["study", "list"], catch_exceptions=False).output
    assert next(line for line in text.splitlines() if line.startswith("digits")).endswith("Wang et al. 2022")


def test_studies_of_one_paper_are_listed_with_their_cost_and_data() -> None:
    arguments = ["study", "list", "--paper", "zeise2025", "--json"]
    listed = json.loads(CliRunner().invoke(cli, arguments, catch_exceptions=False).output)
    assert "zeise2025-table-7" in listed
    assert "digits" not in listed
    assert listed["zeise2025-table-1"] == {
        **listed["zeise2025-table-1"],
        "sizes": ["tiny", "small", "paper"],
        "trainings": 18,
        "sources": ["cifar10"],
        "printed": ["zeise2025-table-1"],
    }
