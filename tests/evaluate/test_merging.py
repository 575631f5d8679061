"""Shards of an evaluation, merged, are the evaluation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.evaluate import Shard, run
from nofrost.evaluate import merge as merge_shards
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from tests.evaluate.shards import contents, run_shards

MakeSuite = Callable[..., Any]
CheckpointWith = Callable[[str], Path]
CURVES = {
    "steps_curve": {"attack": "apgd-ce", "steps": [1, 2]},
    "budget_curve": {"attack": {"name": "fgsm"}, "multiples": [1]},
}
SHORT = {"attacks": {"fgsm": {}, "apgd-ce": {"steps": 2}}}
DIVISIONS = [
    pytest.param(3, {"batch_size": 7}, id="even"),
    pytest.param(2, {"batch_size": 59}, id="a last batch of one image"),
    pytest.param(3, {"max_images": 25, "batch_size": 4}, id="max_images"),
    pytest.param(9, {"max_images": 7, "batch_size": 2}, id="more shards than images"),
    pytest.param(1, {"max_images": 10}, id="one shard"),
]
CASCADE = {"attacks": {"fgsm": {}, "apgd-ce": {"steps": 2}, "square": {"queries": 4}}, "cascade": True}
# In three groups, the last one of one image.
GROUPS = {"batch_size": 3, "max_images": 25}
CASCADES = [
    pytest.param(3, {**CASCADE, **GROUPS}, id="groups of a cascade"),
    pytest.param(2, {**CASCADE, "batch_size": 59}, id="one group"),
    pytest.param(
        3,
        {"attacks": {"autoattack": {"steps": 2, "targets": 1, "queries": 4}}, **GROUPS},
        id="groups of an attack that is a cascade",
    ),
]
# The branches of a mixture are measured like networks of their own: not in every division.
NETWORKS = [
    pytest.param(*case.values, normaliser, id=f"{case.id}, {normaliser}", marks=marks)
    for normaliser, cases, marks in (
        ("bn", [DIVISIONS[0], CASCADES[0]], ()),
        ("bn", DIVISIONS[1:], pytest.mark.slow),
        ("mbn", DIVISIONS[:1], ()),
        ("mbn", CASCADES, pytest.mark.slow),
    )
    for case in cases
]


@pytest.mark.parametrize(("count", "keys", "normaliser"), NETWORKS)
def test_merged_shards_are_the_adversarial_evaluation_of_all_images_byte_for_byte(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_suite: MakeSuite,
    tmp_path: Path,
    count: int,
    keys: dict[str, Any],
    normaliser: str,
) -> None:
    suite = make_suite(**{**SHORT, **CURVES, **keys})
    whole = run(dataset, checkpoint_with(normaliser), suite, tmp_path / "whole").as_json()
    shards = run_shards(dataset, checkpoint_with(normaliser), suite, count, tmp_path)
    merged = merge_shards(dataset, checkpoint_with(normaliser), suite, shards[::-1], tmp_path / "merged").as_json()
    assert merged == whole
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert bool(whole["branches"]) == (normaliser == "mbn")


@pytest.mark.parametrize(("count", "keys"), DIVISIONS)
def test_merged_shards_are_the_ood_evaluation_of_all_images_byte_for_byte(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    count: int,
    keys: dict[str, Any],
) -> None:
    suite = make_ood_suite(**keys)
    whole = run(dataset, checkpoint_with("mbn"), suite, tmp_path / "whole").as_json()
    shards = run_shards(dataset, checkpoint_with("mbn"), suite, count, tmp_path)
    merged = merge_shards(dataset, checkpoint_with("mbn"), suite, shards[::-1], tmp_path / "merged").as_json()
    assert merged == whole
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_a_shard_that_gets_no_image_says_so(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index in range(3):
        run(
            dataset,
            checkpoint_with("bn"),
            make_ood_suite(max_images=4, batch_size=2),
            tmp_path / str(index),
            Shard(index, 3),
        )
    said = [line for line in capsys.readouterr().err.splitlines() if "no image" in line]
    assert len(said) == 1
    assert "shard 2/3 has no image to measure, as 2 at a time" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [{**SHORT, "batch_size": 7}, {**CASCADE, "batch_size": 4, "max_images": 33}],
    ids=["batches", "groups"],
)
def test_shards_run_the_same_batches_as_the_whole(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
) -> None:
    suite = make_suite(**keys)
    attacked: list[tuple[str, tuple[int, ...]]] = []
    original = EvaluatedModel.attack

    def spy(self: EvaluatedModel, condition: Any, images: Any, labels: Any, indices: Any, *rest: Any) -> Any:
        attacked.append((condition.name, tuple(indices.tolist())))
        return original(self, condition, images, labels, indices, *rest)

    monkeypatch.setattr(EvaluatedModel, "attack", spy)
    run(dataset, checkpoint_with("mbn"), suite, tmp_path / "whole")
    examples = attacked.pop()  # of the whole alone
    whole = sorted(attacked)
    attacked.clear()
    run_shards(dataset, checkpoint_with("mbn"), suite, 4, tmp_path)
    assert sorted(attacked) == whole
    assert len(examples[1]) == 8


def test_merging_measures_nothing_again(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = make_suite(batch_size=20, properties={"decision_margin": True}, **CURVES)
    shards = run_shards(dataset, checkpoint_with("mbn"), suite, 3, tmp_path)

    def again(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Engine, "_computed", again)
    merge_shards(dataset, checkpoint_with("mbn"), suite, shards, tmp_path / "merged")


def test_a_shard_records_what_it_is_and_no_accuracy(
    dataset: Path, checkpoint_with: CheckpointWith, make_suite: MakeSuite, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    for suite in (make_suite(batch_size=16), make_ood_suite(batch_size=16)):
        shards = run_shards(dataset, checkpoint_with("bn"), suite, 5, tmp_path / suite.kind)
        metrics = [json.loads((shard / "metrics.json").read_text()) for shard in shards]
        assert [each["samples"] for each in metrics] == [16, 16, 16, 12, 0]
        assert [each["shard"] for each in metrics] == ["0/5", "1/5", "2/5", "3/5", "4/5"]
        for each in metrics:
            assert sorted(each) == ["batch_size", "indices_sha256", "kind", "samples", "seed", "shard", "title"]
        made = json.loads((shards[1] / "record.json").read_text())
        assert (made["shard"], made["config"]) == ("1/5", suite.as_json())
        assert {path.name for path in shards[1].iterdir()} == {"conditions", "metrics.json", "record.json"}
        lengths = {len(np.load(path)["values"]) for path in (shards[1] / "conditions").iterdir()}
        assert lengths == {16}


def test_a_killed_shard_resumes_from_its_own_measurements_only(
    dataset: Path, checkpoint_with: CheckpointWith, make_ood_suite: MakeSuite, tmp_path: Path, started: Any
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    run(dataset, checkpoint_with("bn"), suite, tmp_path / "undisturbed", Shard(1, 3))

    def measured(shard: Shard) -> int:
        started.clear()
        run(dataset, checkpoint_with("bn"), suite, tmp_path / "out", shard)
        return len(started)

    started.limit = 3
    with pytest.raises(KeyboardInterrupt):
        measured(Shard(1, 3))
    started.limit = 100
    left = shutil.copytree(tmp_path / ".out.nofrost-partial", tmp_path / "left")
    assert measured(Shard(1, 3)) == 4 - 3
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    for other in (Shard(0, 3), Shard(1, 2)):
        shutil.copytree(left, tmp_path / ".out.nofrost-partial")
        assert measured(other) == 4


def test_a_merge_that_was_stopped_ends_with_the_same_bytes(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = make_suite(batch_size=20)
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    run(dataset, checkpoint_with("mbn"), suite, whole)
    shards = run_shards(dataset, checkpoint_with("mbn"), suite, 3, tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nofrost.evaluate.stage._AdversarialEvaluation._examples", stop)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(dataset, checkpoint_with("mbn"), suite, shards, merged)
    assert not merged.exists()
    merge_shards(dataset, checkpoint_with("mbn"), suite, shards, merged)
    assert contents(merged) == contents(whole)
