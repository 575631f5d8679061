"""What a report pushes for Prometheus is what it says."""

from __future__ import annotations

import pytest

from nofrost.report import stage
from nofrost.report.collect import collect
from nofrost.report.facts import facts_of
from nofrost.telemetry.metrics import Fact
from tests.report.study_on_disk import Tree


def by_labels(facts: list[Fact]) -> dict[tuple[str, ...], float]:
    return {(fact.metric.name, *fact.labels): fact.value for fact in facts}


def test_every_run_has_its_accuracies_and_alarms(tree: Tree) -> None:
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    facts = facts_of(collected)
    found = by_labels(facts)
    assert len(found) == len(facts), "two facts with equal labels"
    ((attacked,), (shifted,)) = collected.attacked, collected.shifted
    runs = list(zip(attacked.runs, shifted.runs, strict=True))
    assert {run.recipe for run, _ in runs} == {"st", "mbnat"}
    for run, corrupted in runs:
        of_run = (run.recipe, str(run.seed), "quick")
        threat = run.adversarial.threat
        for condition, proportion in run.adversarial.accuracy.items():
            key = ("nofrost_study_accuracy_ratio", *of_run, condition, threat.norm, str(threat.eps))
            assert found[key] == proportion.accuracy
        assert found["nofrost_study_ood_accuracy_ratio", *of_run, "mean"] == corrupted.ood.mean_accuracy
        assert found["nofrost_study_ood_accuracy_ratio", *of_run, "contrast"] <= 1
        for alarm in run.adversarial.alarms:
            key = ("nofrost_study_alarms", *of_run, alarm.name)
            assert {status: found[*key, status] for status in ("pass", "warn", "fail")} == {
                status: float(status == alarm.status) for status in ("pass", "warn", "fail")
            }


def test_a_report_pushes_them_once_it_is_written(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[tuple[int, str, str]] = []

    def push(facts: list[Fact], *, study: str, task: str) -> bool:
        assert (tree.root / "report" / "report.html").is_file()
        pushed.append((len(facts), study, task))
        return True

    monkeypatch.setattr(stage, "push_facts", push)
    tree.report()
    (only,) = pushed
    assert only[0] > 10
    assert only[1:] == (tree.study.name, "report")
