"""The tasks around the champion: what is newest is resolved, the gate decides, and the promotion moves a pointer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost import tasks
from nofrost.champion.champion import Champion, list_champions, promote_by_hand, read_champion, read_gate, rollback
from nofrost.champion.evaluations import ADVERSARIAL, OOD, Evaluations
from nofrost.config import Study, study_as_yaml
from nofrost.models import create_model
from nofrost.models.checkpoint import save_checkpoint
from nofrost.promotion import write_candidate
from nofrost.results import GateMetrics
from nofrost.store import Output, Ref, Store, find_lease, open_store, push
from nofrost.store.base import object_name
from nofrost.store.releases import release_data
from nofrost.tasks import champion_tasks
from nofrost.tasks.labels import UNFIT
from nofrost.tasks.run_lease import give_to_run, take_run_lease
from tests.champion.models import STUDY, evaluations, write_evaluations


def share(right: float) -> np.ndarray:
    return np.arange(400) < right * 400


class Runs:
    """Runs of the pipeline for a study of two recipes, of which the tasks after the evaluations are called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, str(folder / "store")
        self.store: Store = open_store(self.url)
        self.study = STUDY

    def output(self, path: str, content: Path) -> str:
        return str(Output(path, push(content, self.store)))

    def evaluated(self, name: str, model: Evaluations) -> list[str]:
        """Return the evaluations of a model, which is called NAME in paths, as outputs."""
        folder = self.folder / "work" / str(len(list(self.folder.glob("work/*"))))
        write_evaluations(folder, model)
        return [self.output(f"{name}/{stage}/quick", folder / stage / "quick") for stage in (ADVERSARIAL, OOD)]

    def run(self, run: str, st: Evaluations, sat: Evaluations, champion: Evaluations | None = None) -> GateMetrics:
        """Call gate and promotion of a run; `champion` are the evaluations of the present one."""
        resolved = tasks.resolve("", self.study.name, self.url)
        gate, outputs = self.gate(resolved[1], st, sat, champion)
        self.promote(run, resolved[1], gate, outputs)
        return read_gate(Output.parse(gate), self.store)

    def gate(
        self, champion: str, st: Evaluations, sat: Evaluations, holder: Evaluations | None
    ) -> tuple[str, list[str]]:
        pairs = [self.evaluated(f"runs/{name}/seed-0", model) for name, model in (("st", st), ("sat", sat))]
        of_champion = self.evaluated("champion", holder) if holder else ["", ""]
        study = study_as_yaml(self.study)
        adversarial, ood = zip(*pairs, strict=True)
        gate = tasks.gate(study, adversarial, ood, champion, of_champion, self.url)
        return gate, [*adversarial, *ood]

    def promote(self, run: str, champion: str, gate: str, outputs: list[str]) -> str:
        (self.folder / run).mkdir(exist_ok=True)
        (self.folder / run / "model.safetensors").write_text(run)
        some = [self.output(path, self.folder / run) for path in ("data/dataset", "report")]
        trained = [self.output(f"runs/{name}/seed-0/train", self.folder / run) for name in ("st", "sat")]
        write_candidate(
            [Output.parse(text) for text in (*some, *trained, *outputs)],
            study=self.study,
            run=run,
            image="image",
            source=None,
            store=self.store,
        )
        return tasks.promote(gate, champion, run, self.url)

    @property
    def champion(self) -> Champion | None:
        stored = read_champion(self.study.name, self.store)
        return stored.champion if stored else None


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


GOOD, BETTER = evaluations(share(0.5)), evaluations(share(0.6))
BAD = evaluations(share(0.2), run="st/seed-0")


def test_runs_promote_what_is_better_and_leave_what_is_not(runs: Runs) -> None:
    assert tasks.resolve("", "digits", runs.url) == ("", "", "")
    assert runs.run("run-1", BAD, GOOD).decision == "promote"
    assert runs.champion
    assert (runs.champion.run, runs.champion.recipe, runs.champion.how) == ("run-1", "sat", "gate")
    same = runs.run("run-2", BAD, GOOD, champion=GOOD)
    assert (same.decision, same.champion and same.champion.run) == ("keep", "run-1")
    assert runs.champion.run == "run-1"
    assert runs.run("run-3", BAD, BETTER, champion=GOOD).decision == "promote"
    assert [stored.champion.run for stored in list_champions("digits", runs.store)] == ["run-3", "run-1"]


def test_the_champion_is_given_as_a_checkpoint_of_its_own_path(runs: Runs) -> None:
    runs.run("run-1", BAD, GOOD)
    source, champion, checkpoint = tasks.resolve("", "digits", runs.url)
    assert runs.champion
    assert (source, checkpoint) == ("", f"champion/train@{runs.champion.checkpoint.ref}")
    assert json.loads(champion)["run"] == "run-1"
    assert champion.isascii()
    assert tasks.resolve("", "", runs.url) == ("", "", ""), "of a study without a gate"


def test_the_newest_release_of_the_data_is_resolved(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for content in ("first", "second"):
        (tmp_path / "data" / "images").write_text(content)
        ref = push(tmp_path / "data", runs.store)
        release_data(runs.store, "photos", ref)
        assert tasks.resolve("latest:photos", "", runs.url)[0] == str(ref)
    assert tasks.resolve(str(ref), "", runs.url)[0] == str(Ref.parse(str(ref)))


def test_a_run_of_kubeflows_own_schedule_ends_beside_a_submitted_one(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    give_to_run(take_run_lease(runs.store, "weekly", "somebody", scheduled=False), "run-1", scheduled=False)
    with pytest.raises(SystemExit) as end:
        tasks.resolve("", "digits", runs.url, "weekly", "run-2")
    assert end.value.code == 2
    assert "weekly has a submitted run run-1" in capsys.readouterr().err
    assert tasks.resolve("", "digits", runs.url, "nightly", "run-2") == ("", "", "")
    lease = find_lease(runs.store, "nightly")
    assert lease
    assert lease.holder == "scheduled run run-2"


def test_data_that_were_never_released_end_the_run_with_a_sentence(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        tasks.resolve("latest:photos", "", runs.url)
    assert end.value.code == 2
    assert "has no data named photos" in capsys.readouterr().err


def test_another_champion_meanwhile_stays_and_is_said(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    gate, outputs = runs.gate("", BAD, GOOD, None)
    runs.run("run-2", BAD, GOOD)
    assert runs.promote("run-1", "", gate, outputs) == ""
    assert runs.champion
    assert runs.champion.run == "run-2"
    assert "is no longer the one that sat/seed-0 was compared with, and stays" in capsys.readouterr().err


def test_a_promotion_that_is_tried_again_after_it_moved_the_pointer_has_succeeded(runs: Runs) -> None:
    gate, outputs = runs.gate("", BAD, GOOD, None)
    record = runs.promote("run-1", "", gate, outputs)
    assert record
    assert runs.promote("run-1", "", gate, outputs) == record
    assert len(list_champions("digits", runs.store)) == 1


def test_a_study_can_leave_the_promotion_to_people(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.study.gate
    runs.study = with_gate(runs.study, promotion="manual")
    assert runs.run("run-1", BAD, GOOD).decision == "promote"
    assert runs.champion is None
    assert "nofrost champion promote run-1" in capsys.readouterr().err
    promote_by_hand("run-1", runs.store)
    assert runs.champion
    assert runs.champion.how == "hand"


def test_a_model_that_was_rolled_back_is_not_promoted_by_a_run_that_makes_it_again(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.run("run-1", BAD, GOOD)
    runs.run("run-2", BAD, BETTER, champion=GOOD)
    rollback("digits", runs.store, reason="too slow")
    _, champion, _ = tasks.resolve("", "digits", runs.url)
    gate, outputs = runs.gate(champion, BAD, BETTER, GOOD)
    # The training comes from the cache, so the checkpoint is that of run-2.
    assert runs.promote("run-2", champion, gate, outputs) == ""
    assert runs.champion
    assert runs.champion.run == "run-1"
    assert "rolled back, and is left to you: nofrost champion promote run-2" in capsys.readouterr().err
    promote_by_hand("run-2", runs.store)
    assert runs.champion.run == "run-2"
    # Another model than that one is promoted as ever.
    rollback("digits", runs.store)
    assert runs.run("run-3", BAD, BETTER, champion=GOOD).decision == "promote"
    assert runs.champion.run == "run-3"


def with_gate(study: Study, **values: Any) -> Study:
    assert study.gate
    return study.model_copy(update={"gate": study.gate.model_copy(update=values)})


def test_unfinished_evaluations_are_passed_over(runs: Runs) -> None:
    pairs = [runs.evaluated(f"runs/{name}/seed-0", model) for name, model in (("st", BAD), ("sat", GOOD))]
    adversarial, ood = zip(*pairs, strict=True)
    gate = tasks.gate(study_as_yaml(STUDY), adversarial, ood[:1], "", ["", ""], runs.url)
    metrics = read_gate(Output.parse(gate), runs.store)
    assert (metrics.challenger.name, metrics.decision) == ("st/seed-0", "promote")
    (passed_over,) = metrics.passed_over
    assert passed_over.run == "sat/seed-0"
    assert "evaluate-ood/quick/metrics.json" in passed_over.reason
    assert str(runs.folder) not in passed_over.reason
    assert "/tmp" not in passed_over.reason


def test_the_same_inputs_give_the_same_bytes(runs: Runs) -> None:
    first, _ = runs.gate("", BAD, GOOD, None)
    assert runs.gate("", BAD, GOOD, None)[0] == first


def test_a_champion_of_other_classes_is_left_out_with_a_reason(runs: Runs) -> None:
    runs.run("run-1", BAD, GOOD)
    champion = tasks.resolve("", "digits", runs.url)[1]
    pairs = [runs.evaluated(f"runs/{name}/seed-0", model) for name, model in (("st", BAD), ("sat", BETTER))]
    adversarial, ood = zip(*pairs, strict=True)
    unfit = [f"{UNFIT}the model in champion/train does not fit data/dataset: classes 10 against 12"] * 2
    gate = tasks.gate(study_as_yaml(STUDY), adversarial, ood, champion, unfit, runs.url)
    metrics = read_gate(Output.parse(gate), runs.store)
    assert metrics.decision == "keep"
    assert "classes 10 against 12" in metrics.criteria[0].reason


def test_a_champion_whose_checkpoint_is_gone_ends_no_run_and_can_be_replaced_by_hand(runs: Runs) -> None:
    runs.run("run-1", BAD, GOOD)
    assert runs.champion
    runs.store.delete([object_name(runs.champion.checkpoint.ref.md5)])
    _, champion, checkpoint = tasks.resolve("", "digits", runs.url)
    suite = json.dumps(STUDY.suites.ood["quick"].as_json())
    assert checkpoint.startswith(UNFIT)
    assert tasks.evaluate_shard(suite, "quick", "data/dataset@none", checkpoint, "0/2", "no such store") == checkpoint
    unfit = tasks.evaluate(suite, "quick", "data/dataset@none", checkpoint, [checkpoint] * 2, "no such store")
    pairs = [runs.evaluated(f"runs/{name}/seed-0", model) for name, model in (("st", BAD), ("sat", BETTER))]
    adversarial, ood = zip(*pairs, strict=True)
    gate = tasks.gate(study_as_yaml(STUDY), adversarial, ood, champion, [unfit] * 2, runs.url)
    runs.promote("run-2", champion, gate, [*adversarial, *ood])
    assert runs.champion.run == "run-1"
    assert "no longer whole in the store" in read_gate(Output.parse(gate), runs.store).criteria[0].reason
    promote_by_hand("run-2", runs.store, force=True)
    assert runs.champion.run == "run-2"


def test_without_a_champion_its_evaluations_are_empty_at_once() -> None:
    suite = json.dumps(STUDY.suites.ood["quick"].as_json())
    assert tasks.evaluate_shard(suite, "quick", "data/dataset@none", "", "0/2", "no such store") == ""
    assert tasks.evaluate(suite, "quick", "data/dataset@none", "", ["", ""], "no such store") == ""
    assert (
        tasks.evaluate(suite, "quick", "data/dataset@none", "champion/train@0", [f"{UNFIT}x", f"{UNFIT}x"], "s")
        == f"{UNFIT}x"
    )


def test_facts_of_the_gate_are_pushed_by_each_run(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: list[Any] = []
    monkeypatch.setattr(champion_tasks, "push_facts", lambda facts, **key: pushed.append((key, list(facts))))
    runs.run("run-1", BAD, GOOD)
    runs.run("run-2", BAD, GOOD, champion=GOOD)
    (first, facts), (second, later) = pushed
    assert first == second == {"study": "digits", "task": "promote"}
    values = {(fact.metric.name, *fact.labels): fact.value for fact in facts}
    assert values["nofrost_gate_passed",] == 1
    assert values["nofrost_champion_promotion_timestamp_seconds",] > 1.7e9
    values = {(fact.metric.name, *fact.labels): fact.value for fact in later}
    assert values["nofrost_gate_passed",] == 0
    assert values["nofrost_gate_criterion_passed", "worst-case"] == 0
    assert values["nofrost_gate_difference_ratio", "worst-case"] == 0
    assert ("nofrost_champion_promotion_timestamp_seconds",) not in values


@pytest.mark.parametrize("classes", [10, 12])
def test_the_champion_is_evaluated_if_it_knows_the_classes_of_the_dataset(
    classes: int, begun: Any, tmp_path: Path
) -> None:
    model = create_model("resnet8", normaliser="bn", num_classes=classes, image_size=16, channels=1)
    (tmp_path / "train").mkdir()
    save_checkpoint(tmp_path / "train" / "best.safetensors", model, {})
    checkpoint = f"champion/train@{push(tmp_path / 'train', open_store(begun.store))}"
    suite = json.dumps(begun.study.suites.ood["quick"].as_json())
    shards = [
        tasks.evaluate_shard(suite, "quick", begun.dataset, checkpoint, shard, begun.store) for shard in ("0/2", "1/2")
    ]
    merged = tasks.evaluate(suite, "quick", begun.dataset, checkpoint, shards, begun.store)
    if classes == 10:
        assert Output.parse(shards[0]).path == "champion/evaluate-ood/quick.shard-0-of-2"
        assert Output.parse(merged).path == "champion/evaluate-ood/quick"
        assert tasks.evaluate(suite, "quick", begun.dataset, checkpoint, [], begun.store) == merged
    else:
        sentence = "the model in champion/train does not fit data/dataset: classes 12 against 10"
        assert all(text.startswith(f"{UNFIT}{sentence}") for text in (*shards, merged))
