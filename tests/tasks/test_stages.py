"""Tasks push the output of their stage, under its path in dvc.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost import prepare, tasks
from nofrost.cluster.outcome.job_result import JobResult, read_result
from nofrost.config import DatasetSpec, study_as_yaml
from nofrost.store import Output, open_store, pull, push
from nofrost.store.base import object_name
from nofrost.tasks import saves
from nofrost.tasks.workspace import Workspace


def test_prepare_pushes_the_output_of_the_stage(begun: Any, tmp_path: Path) -> None:
    prepare.run(DatasetSpec(source="digits", image_size=16, limit=120), tmp_path / "dataset")
    direct = push(tmp_path / "dataset", open_store(begun.store))
    assert Output.parse(begun.dataset) == Output("data/dataset", direct)


@pytest.mark.parametrize("form", ["file", "folder"])
def test_prepare_reads_its_source_by_ref(form: str, tmp_path: Path) -> None:
    """The name of a file is kept: it may say what kind of archive it is."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8), np.arange(40) % 2
    source = tmp_path / "here" / "mine.npz"
    source.parent.mkdir()
    np.savez(source, images=images, labels=labels)
    spec = DatasetSpec(source="npz", path=str(source if form == "file" else source.parent))
    store = open_store(str(tmp_path / "store"))
    ref = push(Path(spec.path), store)
    output = Output.parse(tasks.prepare(json.dumps(spec.as_json()), str(ref), store.url))
    prepare.run(spec, tmp_path / "dataset")
    assert output.ref == push(tmp_path / "dataset", store)


def test_shards_of_the_augmentation_are_merged_to_the_whole(begun: Any) -> None:
    spec = json.dumps(begun.study.augmentation.as_json())
    shards = [tasks.augment_shard(spec, begun.dataset, shard, begun.store) for shard in ("0/2", "1/2")]
    assert [Output.parse(shard).path for shard in shards] == [
        f"data/augmentation.shard-{index}-of-2" for index in (0, 1)
    ]
    assert tasks.augment(spec, begun.dataset, begun.store, shards) == begun.augmentation


def test_every_output_from_training_to_report_has_its_path_in_dvc_yaml(begun: Any, tmp_path: Path) -> None:
    study = begun.study
    run = "runs/st/seed-0"
    checkpoint = tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store))
    assert Output.parse(checkpoint).path == f"{run}/train"
    merged = {}
    for kind, suite in (("adversarial", study.suites.adversarial["quick"]), ("ood", study.suites.ood["quick"])):
        text = json.dumps(suite.as_json())
        shards = [
            tasks.evaluate_shard(text, "quick", begun.dataset, checkpoint, shard, begun.store)
            for shard in ("0/2", "1/2")
        ]
        assert [Output.parse(shard).path for shard in shards] == [
            f"{run}/evaluate-{kind}/quick.shard-{index}-of-2" for index in (0, 1)
        ]
        merged[kind] = tasks.evaluate(text, "quick", begun.dataset, checkpoint, shards, begun.store)
        assert Output.parse(merged[kind]).path == f"{run}/evaluate-{kind}/quick"
        assert tasks.evaluate(text, "quick", begun.dataset, checkpoint, [], begun.store) == merged[kind], "in one task"
    page, note = tmp_path / "artifacts" / "page", tmp_path / "artifacts" / "note"
    outputs = [checkpoint, *merged.values()]
    text = study_as_yaml(study)
    report, accuracies = tasks.report(
        text, begun.dataset, begun.augmentation, outputs, begun.store, str(page), str(note)
    )
    assert Output.parse(report).path == "report"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert note.read_text(encoding="utf-8").startswith("#")
    pull(Output.parse(report).ref, tmp_path / "report", open_store(begun.store))
    measured = json.loads((tmp_path / "report" / "metrics.json").read_text())["runs"]["st"]["seed-0"]
    assert accuracies["st/seed-0/clean"] == measured["clean"]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())


def test_a_training_starts_from_the_output_of_another(begun: Any, tmp_path: Path) -> None:
    first = {**json.loads(begun.recipe), "schedule": {"epochs": 1, "batch_size": 32}}
    both = {**first, "phases": {"first": {}, "second": {"trainable": "bn"}}}
    given = ("0", begun.dataset, begun.augmentation, begun.store)
    start = tasks.train(tasks.Training(json.dumps(first), "first", *given))
    whole = tasks.train(tasks.Training(json.dumps(both), "whole", *given))
    rest = tasks.train(tasks.Training(json.dumps(both), "rest", *given, start=start))
    for name, output in (("whole", whole), ("rest", rest)):
        pull(Output.parse(output).ref, tmp_path / name, open_store(begun.store))
    for file in ("best.safetensors", "last.safetensors", "curves.json"):
        assert (tmp_path / "rest" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_tasks_whose_output_is_in_the_store_leave_no_saves_there(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(begun.store)
    restore, push_output = saves._Saves.restore, Workspace.push
    kept: list[str] = []

    def restore_after_a_kill(self: saves._Saves) -> None:
        restore(self)
        self._store.put(object_name("0" * 32), b"of a save that was not published")

    def push_and_look(self: Workspace, path: str) -> str:
        output = push_output(self, path)
        kept.extend(name for name in store.objects("nofrost/unfinished/") if name.endswith("0" * 30))
        return output

    monkeypatch.setattr(saves._Saves, "restore", restore_after_a_kill)
    monkeypatch.setattr(Workspace, "push", push_and_look)
    suite = json.dumps(begun.study.suites.ood["quick"].as_json())
    checkpoint = tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store))
    tasks.evaluate_shard(suite, "quick", begun.dataset, checkpoint, "0/2", begun.store)
    tasks.evaluate(suite, "quick", begun.dataset, checkpoint, [], begun.store)
    assert len(kept) == 3, "until the output is in the store"
    assert not store.objects("nofrost/unfinished/")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "data/dataset"}, "is not an output"),
        ({"dataset": "data/dataset@" + "0" * 32 + ".dir"}, "0" * 30),
        ({"dataset": "data/dataset@" + "0" * 32 + ".dir"}, "submit the run with --no-cache"),
        ({"recipe": "{"}, "recipes.st is not valid JSON"),
        ({"recipe": '{"titel": 1}'}, "recipes.st: "),
        ({"gpus": 3}, "3 GPUs were asked for"),
    ],
)
def test_wrong_input_ends_a_task_with_one_sentence(
    options: dict[str, Any], message: str, begun: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = {"recipe": begun.recipe, "recipe_id": "st", "seed": "0", "dataset": begun.dataset}
    valid |= {"augmentation": begun.augmentation, "store": begun.store}
    given = {**valid, **options}
    gpus = given.pop("gpus", 0)
    with pytest.raises(SystemExit) as end:
        tasks.train(tasks.Training(**given), gpus)
    assert end.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("nofrost: ")
    assert message in line


def test_a_wrong_interval_of_saves_ends_a_task_before_its_work(
    begun: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOFROST_SAVE_INTERVAL_S", "5m")
    with pytest.raises(SystemExit) as end:
        tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store))
    assert end.value.code == 2
    assert "NOFROST_SAVE_INTERVAL_S is '5m'" in capsys.readouterr().err.splitlines()[-1]


def test_outputs_are_recorded_for_the_run_that_reports_on_them(tmp_path: Path) -> None:
    outputs = {
        "dataset": "data/dataset@1",
        "augmentation": "data/augmentation@2",
        "trained": ["runs/st/seed-0/train@3"],
    }
    name = tasks.record_outputs(outputs, "run-1", str(tmp_path))
    assert name == "nofrost/runs/run-1/outputs.json"
    assert json.loads(open_store(str(tmp_path)).get(name)) == outputs


def test_a_node_that_starts_again_after_the_training_trains_nothing(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOFROST_JOB", "job-1")
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")
    first = tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store))
    store = open_store(begun.store)
    assert read_result("job-1", "run-1", store) == JobResult(output=first)
    monkeypatch.setattr("nofrost.train.run", lambda *_: pytest.fail("it trains again"))
    assert tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store)) == first
    # The other nodes do not wait for node 0, which need not come again.
    for key, value in {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(f"PET_{key}", value)
    arguments = (begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store)
    assert tasks.train(tasks.Training(*arguments), nodes=2) == ""
