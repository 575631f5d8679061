"""Further test sets in evaluate-ood: exact counts, shards, resuming, and folders that do not fit the suite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nofrost import models
from nofrost.config import OodSuite, TestSets
from nofrost.data import from_tensor, read_manifest, read_split, to_tensor, write_manifest
from nofrost.errors import UserError
from nofrost.evaluate import Shard, merge, run
from nofrost.prepare import run_test_sets
from nofrost.results import EvaluationRecord, OodMetrics, read_result
from nofrost.statistics import wilson_interval

MakeSuite = Callable[..., OodSuite]
Digits = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def suite(make_ood_suite: MakeSuite, digits: Digits, tmp_path: Path) -> OodSuite:
    """A suite with the test sets `dark` (100 dimmed digits) and `few` (30)."""
    images, labels = digits
    np.savez(tmp_path / "dark.npz", images=from_tensor(images[400:500] / 2), labels=labels[400:500].numpy())
    np.savez(tmp_path / "few.npz", images=from_tensor(images[500:530]), labels=labels[500:530].numpy())
    test_sets = {name: {"source": "npz", "path": str(tmp_path / f"{name}.npz")} for name in ("dark", "few")}
    return make_ood_suite(severities=[1], batch_size=16, test_sets=test_sets)


@pytest.fixture
def prepared(suite: OodSuite, dataset: Path, tmp_path: Path) -> Path:
    run_test_sets(TestSets(test_sets=suite.test_sets), dataset, tmp_path / "test-sets")
    return tmp_path / "test-sets"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_test_set_has_the_accuracy_of_the_model_on_its_images(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    metrics = run(dataset, plain_checkpoint, suite, tmp_path / "out", test_sets=prepared)
    assert isinstance(metrics, OodMetrics)
    flags = np.load(tmp_path / "out/flags.npz", allow_pickle=False)
    model = models.load_model(plain_checkpoint)
    for name, total in (("dark", 100), ("few", 30)):
        split, measured = read_split(prepared / name, "test"), metrics.test_sets[name]
        with torch.no_grad():
            predictions = model(to_tensor(split.images)).argmax(1).numpy()
        assert np.array_equal(flags[f"test-sets/{name}/predictions"], predictions)
        assert np.array_equal(flags[f"test-sets/{name}/labels"], split.labels)
        correct = int((predictions == split.labels).sum())
        assert (measured.correct, measured.total, measured.interval) == (
            correct,
            total,
            wilson_interval(correct, total),
        )
    record = read_result(EvaluationRecord, tmp_path / "out/record.json")
    assert record.inputs["test-sets/dark"] == metrics.test_sets["dark"].data_sha256


def test_an_optional_set_that_prepare_left_out_is_not_measured(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, tmp_path: Path
) -> None:
    absent = suite.test_sets["few"].model_copy(update={"path": str(tmp_path / "nowhere.npz"), "optional": True})
    optional = suite.model_copy(update={"test_sets": {**suite.test_sets, "few": absent}})
    run_test_sets(TestSets(test_sets=optional.test_sets), dataset, tmp_path / "sets")
    metrics = run(dataset, plain_checkpoint, optional, tmp_path / "out", test_sets=tmp_path / "sets")
    assert isinstance(metrics, OodMetrics)
    assert list(metrics.test_sets) == ["dark"]
    with pytest.raises(UserError, match="does not hold test set few"):
        run(dataset, plain_checkpoint, suite, tmp_path / "strict", test_sets=tmp_path / "sets")


def test_the_rest_of_the_evaluation_is_as_without_test_sets(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    alone = run(dataset, plain_checkpoint, suite.model_copy(update={"test_sets": {}}), tmp_path / "alone")
    beside = run(dataset, plain_checkpoint, suite, tmp_path / "beside", test_sets=prepared)
    assert isinstance(beside, OodMetrics)
    assert beside.model_copy(update={"test_sets": {}}) == alone


def test_shards_are_merged_to_the_bytes_of_the_whole(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    run(dataset, plain_checkpoint, suite, tmp_path / "whole", test_sets=prepared)
    shards = [tmp_path / f"shard-{index}" for index in range(3)]
    for index, out in enumerate(shards):
        run(dataset, plain_checkpoint, suite, out, Shard(index, 3), prepared)
    merge(dataset, plain_checkpoint, suite, shards, tmp_path / "merged", prepared)
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_max_images_takes_evenly_spaced_images_of_each_test_set(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    fewer = suite.model_copy(update={"max_images": 40})
    metrics = run(dataset, plain_checkpoint, fewer, tmp_path / "out", test_sets=prepared)
    assert isinstance(metrics, OodMetrics)
    assert {name: each.total for name, each in metrics.test_sets.items()} == {"dark": 40, "few": 30}


def test_a_suite_with_test_sets_needs_their_folder(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"the suite has test sets \(dark, few\): .*--test-sets FOLDER"):
        run(dataset, plain_checkpoint, suite, tmp_path / "out")
    with pytest.raises(
        UserError, match=f"{tmp_path} does not hold test set dark: prepare them with .*--suite ood/NAME "
    ):
        run(dataset, plain_checkpoint, suite, tmp_path / "out", test_sets=tmp_path)


def test_a_test_set_that_was_prepared_with_other_settings_is_refused(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    changed = suite.test_sets["dark"].model_copy(update={"limit": 50})
    other = suite.model_copy(update={"test_sets": {"dark": changed}})
    with pytest.raises(UserError, match="dark was prepared with limit None, the suite has 50: prepare them with"):
        run(dataset, plain_checkpoint, other, tmp_path / "out", test_sets=prepared)


def test_a_test_set_of_another_dataset_is_refused(
    dataset: Path, plain_checkpoint: Path, suite: OodSuite, prepared: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    manifest = read_manifest(other)
    write_manifest(other, manifest.model_copy(update={"classes": tuple("abcdefghij")}))
    run_test_sets(TestSets(test_sets=suite.test_sets), other, prepared)
    with pytest.raises(UserError, match=r"dark was prepared for another dataset \(its classes differ\)"):
        run(dataset, plain_checkpoint, suite, tmp_path / "out", test_sets=prepared)
