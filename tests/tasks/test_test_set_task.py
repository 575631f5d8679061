"""The task that makes further test sets reads their sources by ref, and evaluation takes its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost import prepare, tasks
from nofrost.config import TestSets
from nofrost.data import read_split
from nofrost.store import Output, open_store, pull, push


def digits(path: Path) -> Path:
    """Write 30 digits of 16 x 16 pixels, three of each class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    np.savez(path, images=random.integers(0, 256, (30, 16, 16), dtype=np.uint8), labels=np.arange(30) % 10)
    return path


@pytest.mark.parametrize("form", ["inside the source", "by a ref of its own", "the source itself"])
def test_a_test_set_is_found_inside_the_source_or_by_its_own_ref(begun: Any, tmp_path: Path, form: str) -> None:
    file = digits(tmp_path / "photos" / "new" / "new.npz")
    store = open_store(begun.store)
    source = str(push(file if form == "the source itself" else tmp_path / "photos", store))
    path = {"inside the source": "photos/new", "by a ref of its own": str(push(file.parent, store))}
    spec = {"test_sets": {"new": {"source": "npz", "path": path.get(form, "new.npz")}}}
    output = Output.parse(tasks.prepare_test_sets(json.dumps(spec), "quick", source, begun.dataset, begun.store))
    assert output.path == "data/test-sets/quick"
    pull(Output.parse(begun.dataset).ref, tmp_path / "dataset", store)
    local = TestSets.model_validate({"test_sets": {"new": {"source": "npz", "path": str(file)}}})
    prepare.run_test_sets(local, tmp_path / "dataset", tmp_path / "test-sets")
    assert output.ref == push(tmp_path / "test-sets", store), "as without the pipeline"
    assert len(read_split(tmp_path / "test-sets" / "new", "test")) == 30


def test_an_evaluation_takes_the_test_sets_whole_and_in_shards(begun: Any, tmp_path: Path) -> None:
    ref = str(push(digits(tmp_path / "new.npz").parent, open_store(begun.store)))
    test_sets = {"new": {"source": "npz", "path": ref}}
    made = tasks.prepare_test_sets(json.dumps({"test_sets": test_sets}), "quick", "", begun.dataset, begun.store)
    suite = json.dumps({**begun.study.suites.ood["quick"].as_json(), "test_sets": test_sets})
    checkpoint = tasks.train(tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store))
    inputs = {"dataset": begun.dataset, "checkpoint": checkpoint, "store": begun.store, "test_sets": made}
    shards = [tasks.evaluate_shard(suite, "quick", shard=shard, **inputs) for shard in ("0/2", "1/2")]
    merged = tasks.evaluate(suite, "quick", shards=shards, **inputs)
    assert merged == tasks.evaluate(suite, "quick", shards=[], **inputs)
    pull(Output.parse(merged).ref, tmp_path / "measured", open_store(begun.store))
    metrics = json.loads((tmp_path / "measured" / "metrics.json").read_text())
    assert metrics["test_sets"]["new"]["total"] == 30
