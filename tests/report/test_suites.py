"""A study with several suites of a kind, or with none: what is shown, and under which names."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import load_study
from tests.report.study_on_disk import Tree

QUICK = {"base": "adversarial-quick", "threat": {"eps": "32/255"}, "steps_curve": {"steps": [1, 5]}}
ATTACKS = {"quick": QUICK, "small": {**QUICK, "title": "Small budget", "threat": {"eps": "8/255"}}}
ONE = {"base": "ood-quick", "corruptions": ["contrast"], "severities": [1]}
SHIFTS = {"one": ONE, "two": {**ONE, "corruptions": ["contrast", "fog"]}}


def tree_of(folder: Path, adversarial: dict[str, Any], ood: dict[str, Any]) -> Tree:
    path = folder / "study.yaml"
    values = {"base": "digits", "recipes": {"sat": "sat"}, "suites": {"adversarial": adversarial, "ood": ood}}
    values["suites"] = {
        kind: {**({"quick": None} if "quick" not in suites else {}), **suites}
        for kind, suites in values["suites"].items()
    }
    values |= {} if adversarial else {"gate": None}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Tree(folder, load_study(path, ("runs.recipe=[st, sat]",)))


def shown(tree: Tree) -> tuple[list[str], str, dict[str, Any]]:
    """The anchors of the sections of a report, its Markdown, and the numbers of a run."""
    report = tree.report(augmentation=False)
    html = (report / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    numbers = json.loads((report / "metrics.json").read_text())["runs"]["st"]["seed-0"]
    return re.findall(r'<section id="([^"]*)"', html), (report / "report.md").read_text(encoding="utf-8"), numbers


def test_every_suite_has_its_sections_columns_and_numbers(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, ATTACKS, SHIFTS)
    sections, text, numbers = shown(tree)
    for section in ("alarms", "tradeoff", "convergence"):
        assert {f"{section}-quick", f"{section}-small"} <= set(sections)
    # Two suites of one title are told apart by their names.
    for heading in ("Alarms: Small budget", "(one)", "(two)", "Under the worst case: Small budget"):
        assert heading in text, heading
    assert {"adversarial/small/worst-case", "ood/two/ood", "adversarial/quick/alarms"} <= set(numbers)
    with (tmp_path / "report" / "plots" / "steps.csv").open(newline="") as file:
        assert {row["run"] for row in csv.DictReader(file)} >= {"st/seed-0/quick", "sat/seed-0/small"}


@pytest.mark.parametrize(
    ("adversarial", "ood", "without"),
    [
        (ATTACKS, {}, {"corruptions", "calibration", "test-sets"}),
        ({}, {"one": ONE}, {"alarms", "tradeoff", "convergence", "budget", "examples"}),
    ],
    ids=["no ood suite", "no adversarial suite"],
)
def test_a_kind_without_a_suite_has_no_section(
    adversarial: dict[str, Any], ood: dict[str, Any], without: set[str], tmp_path: Path
) -> None:
    sections, text, numbers = shown(tree_of(tmp_path, adversarial, ood))
    assert without.isdisjoint(name.partition("-")[0] for name in sections)
    assert {"overview", "results", "training", "pairs", "record"} <= set(sections)
    assert ("worst case" in text) == bool(adversarial)
    assert ("orrupted images" in text) == bool(ood)
    assert any(name.endswith("worst-case") for name in numbers) == bool(adversarial)
    assert ("ood" in numbers) == bool(ood)
