"""The section on the champion: the decision, every criterion with its numbers, the policy; absent without a gate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.champion.decision import decide
from nofrost.champion.evaluations import Evaluations
from nofrost.config import GateSpec, Margins
from nofrost.errors import UserError
from nofrost.files import read_json
from nofrost.report import run
from nofrost.report.collect import collect
from nofrost.report.document import Document, numbered
from nofrost.report.render import to_markdown
from nofrost.report.sections.champion import champion
from nofrost.results import Contender, GateMetrics, write_result
from tests.champion.models import evaluations

RUN = "nofrost-digits-x7k2p"


def share(right: float) -> np.ndarray:
    return np.arange(360) < right * 360


def of_champion(right: float) -> Evaluations:
    model = evaluations(share(right), share(0.95))
    object.__setattr__(model, "contender", Contender(run=RUN, recipe="mbnat", seed=0))
    return model


def gate_of(right: float, champion: Evaluations | None, policy: GateSpec | None = None) -> GateMetrics:
    runs = [
        evaluations(share(right), share(0.96), run="mbnat/seed-0"),
        evaluations(share(0.9), run="st/seed-0", alarms=("fail",)),
    ]
    return decide("digits", policy or GateSpec(), runs, champion)


def report(tree: Any, gate: GateMetrics) -> Path:
    write_result(tree.root / "gate.json", gate)
    folder = Path(tree.root / "report")
    run(tree.dataset, tree.augmentation, tree.runs, tree.study, folder, tree.root / "gate.json")
    return folder


def section(tree: Any, gate: GateMetrics) -> str:
    """The section as Markdown, without a report around it."""
    write_result(tree.root / "gate.json", gate)
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study, tree.root / "gate.json")
    content = champion(collected)
    assert content
    return to_markdown(Document("", "", numbered([content])))


def test_a_report_without_a_gate_has_no_section_about_it(tree: Any) -> None:
    folder = tree.report()
    assert "Against the champion" not in (folder / "report.md").read_text(encoding="utf-8")
    assert "gate" not in read_json(folder / "record.json")["inputs"]


def test_a_promotion_is_shown_with_every_number(tree: Any) -> None:
    gate = gate_of(0.6, of_champion(0.5))
    text = section(tree, gate)
    assert gate.decision == "promote"
    assert "**The challenger passes the gate.** mbnat/seed-0 meets every criterion." in text
    assert f"- **Champion**: mbnat, seed 0 of run {RUN}" in text
    assert "- **Passed over**: st/seed-0: it failed check-0" in text
    comparisons = [each.comparison for each in gate.criteria if each.comparison]
    assert len(comparisons) == 4
    for comparison in comparisons:
        shown = (100 * comparison.challenger, 100 * comparison.champion)
        assert all(f"| {value:.1f} " in text or f" {value:.1f} |" in text for value in shown)
    assert "the worst-case accuracy is higher than the champion's" in text
    assert "2 points of clean accuracy, 2 points of mean accuracy on corrupted images and 2 points" in text


def test_a_challenger_that_fails_is_shown_with_the_criteria_that_it_fails(tree: Any) -> None:
    text = section(tree, gate_of(0.4, of_champion(0.5)))
    assert "**The challenger does not pass the gate.**" in text
    assert "The champion stays." in text
    assert re.search(r"\| Worst-case accuracy +\| ✕ not met +\|", text)


def test_the_first_champion_has_nothing_beside_it(tree: Any) -> None:
    text = section(tree, gate_of(0.4, None, GateSpec(promotion="manual")))
    assert "- **Champion**: none yet" in text
    assert "The study leaves the promotion to a person" in text


def test_a_policy_without_margins_is_explained(tree: Any) -> None:
    policy = GateSpec(gain=0.01, margins=Margins(clean=None, ood=None, calibration=None))
    text = section(tree, gate_of(0.6, of_champion(0.5), policy))
    assert "more than 1 point higher than the champion's" in text
    assert "nothing else counts" in text


def test_a_decision_about_another_study_is_refused(tree: Any) -> None:
    gate = gate_of(0.6, None)
    with pytest.raises(UserError, match=r"gate\.json is about mbnat/seed-0 of study other: run the gate again"):
        section(tree, gate.model_copy(update={"study": "other"}))
    other = Contender(run="", recipe="nofrost", seed=3)
    with pytest.raises(UserError, match=r"gate\.json is about nofrost/seed-3 of study digits"):
        section(tree, gate.model_copy(update={"challenger": other}))


def test_another_decision_makes_another_report(tree: Any) -> None:
    for right, words in ((0.6, "The challenger passes"), (0.4, "The challenger does not pass")):
        folder = report(tree, gate_of(right, of_champion(0.5)))
        assert words in (folder / "report.html").read_text(encoding="utf-8")
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text.index("## Results") < text.index("## Against the champion") < text.index("## Alarms")
    assert len(read_json(folder / "record.json")["inputs"]["gate"]) == 64
