"""Batches have a fixed size, and are halved where memory runs out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost import models
from nofrost.errors import UserError
from nofrost.evaluate import Shard, evaluate_robustness, merge, run
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine, Halving
from nofrost.evaluate.measuring.sample import sample_of_tensors
from nofrost.models.device import out_of_memory

MakeSuite = Callable[..., Any]
Digits = tuple[torch.Tensor, torch.Tensor]
CPU = torch.device("cpu")
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to"),
]


class Hungry(nn.Module):
    """Raises the error of a full memory for more than `most` images that are attacked or classified at once."""

    def __init__(self, model: nn.Module, most: int, error: Exception) -> None:
        super().__init__()
        self.model, self.most, self.error = model, most, error
        self.asked: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(images))
        if len(images) > self.most:
            raise self.error
        return self.model(images)  # type: ignore[no-any-return]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_batch_that_memory_does_not_hold_is_halved_and_the_numbers_stay(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, tmp_path: Path, error: Exception
) -> None:
    suite = make_suite(batch_size=64, max_images=100)
    whole = evaluate_robustness(robust_model, *test_digits, suite)
    assert whole.protocol.reduced_batch_sizes == {}
    hungry = Hungry(robust_model, 20, error)
    halved = evaluate_robustness(hungry, *test_digits, suite, checkpoint_dir=tmp_path)
    assert {64, 32, 16} <= set(hungry.asked)
    assert all(np.array_equal(halved.flags[name], flags) for name, flags in whole.flags.items())
    reduced = halved.protocol.reduced_batch_sizes
    assert reduced["predictions"] == 16
    assert len(reduced) == 3
    assert halved.protocol.batch_size == 64
    # The same evaluation again computes nothing, and still says so.
    again = evaluate_robustness(hungry, *test_digits, suite, checkpoint_dir=tmp_path)
    assert again.protocol.reduced_batch_sizes == reduced


def test_a_whole_stage_fits_into_a_memory_that_holds_three_images(
    dataset: Path,
    plain_checkpoint: Path,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = make_suite(max_images=16, batch_size=4)
    shards = [tmp_path / "0", tmp_path / "1"]
    forward = models.Classifier.forward
    whole = run(dataset, plain_checkpoint, suite, tmp_path / "whole")

    def hungry(self: models.Classifier, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return forward(self, images)

    monkeypatch.setattr(models.Classifier, "forward", hungry)
    assert (
        run(dataset, plain_checkpoint, suite, tmp_path / "small").as_json()["accuracy"] == whole.as_json()["accuracy"]
    )
    for index, shard in enumerate(shards):
        run(dataset, plain_checkpoint, suite, shard, Shard(index, 2))
    # The probes and examples of a merge use the batch sizes that the shards came down to.
    merge(dataset, plain_checkpoint, suite, shards, tmp_path / "merged")
    for file in ("metrics.json", "examples.npz", "record.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (tmp_path / "small" / file).read_bytes()


def test_a_model_that_memory_holds_for_one_image_at_a_time_is_evaluated_so(
    test_digits: Digits, make_suite: MakeSuite
) -> None:
    class Hungry(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 1:
                raise torch.OutOfMemoryError
            return images.flatten(1)[:, :10]

    result = evaluate_robustness(Hungry(), *test_digits, make_suite(max_images=6))
    assert result.accuracy["clean"].total == 6
    assert set(result.protocol.reduced_batch_sizes.values()) == {1}


def test_the_smallest_batch_size_of_all_runs_is_recorded(tmp_path: Path) -> None:
    rows, values = np.arange(4), np.zeros(4, np.bool_)
    first = MeasurementCache(tmp_path)
    first.note_reduced("predictions", 16)
    first.write_batch("predictions", 0, rows, values)
    later = MeasurementCache(tmp_path)
    later.note_reduced("predictions", 64)
    assert later.read_batch("predictions", 0, rows, values) is not None
    assert later.reduced_batch_sizes == {"predictions": 16}


def test_memory_that_runs_out_outside_of_a_measurement_is_an_error_with_the_remedy(
    robust_model: nn.Module, test_digits: Digits
) -> None:
    engine = Engine(sample_of_tensors(*test_digits, None, 8), 4, CPU, MeasurementCache(None))
    message = "the memory of cpu does not hold 4 images: lower the suite's batch_size"
    with pytest.raises(UserError, match=message), engine.ready(robust_model):
        raise torch.OutOfMemoryError


def test_a_memory_that_does_not_hold_one_image_is_an_error() -> None:
    def values(rows: Any, batch_size: int) -> Any:
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match=r"memory of cpu does not hold a single image under pgd, linf 0\.1: free"):
        Halving(CPU, "pgd, linf 0.1", 8, lambda size: None).compute(values, np.arange(8))


def test_batches_stay_small_once_memory_ran_out_and_other_errors_are_raised() -> None:
    asked: list[int] = []
    reduced: list[int] = []

    def values(rows: Any, batch_size: int) -> Any:
        assert len(rows) <= batch_size == [10, *reduced][-1]
        asked.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        return rows * 2

    halving = Halving(CPU, "this test", 10, reduced.append)
    assert halving.note == ""
    for start in (0, 10):
        doubled = list(range(2 * start, 2 * start + 20, 2))
        assert halving.compute(values, np.arange(start, start + 10)).tolist() == doubled
    assert asked == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert reduced == [5, 2]
    assert halving.note == "batch size reduced to 2 (out of memory)"

    def broken(rows: Any, batch_size: int) -> Any:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        halving.compute(broken, np.arange(4))
    assert not out_of_memory(RuntimeError("shapes do not match"))


def test_the_batch_size_is_the_same_for_every_suite_that_does_not_set_one(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, make_ood_suite: MakeSuite
) -> None:
    assert make_suite().batch_size == make_ood_suite().batch_size == 256
    result = evaluate_robustness(robust_model, *test_digits, make_suite(max_images=20))
    assert result.protocol.batch_size == 256
    smaller = evaluate_robustness(robust_model, *test_digits, make_suite(max_images=20, batch_size=5))
    assert smaller.protocol.batch_size == 5


def test_a_shard_measured_in_reduced_batches_is_merged_and_recorded(
    dataset: Path,
    plain_checkpoint: Path,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite = make_ood_suite(batch_size=16, corruptions=["contrast"], severities=[1])
    shards = [tmp_path / "0", tmp_path / "1"]
    run(dataset, plain_checkpoint, suite, tmp_path / "whole")
    run(dataset, plain_checkpoint, suite, shards[0], Shard(0, 2))
    forward = models.Classifier.forward

    def hungry(self: models.Classifier, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 8:
            raise torch.OutOfMemoryError
        return forward(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(models.Classifier, "forward", hungry)
        run(dataset, plain_checkpoint, suite, shards[1], Shard(1, 2))
    merged = merge(dataset, plain_checkpoint, suite, shards, tmp_path / "merged").as_json()
    assert merged == json.loads((tmp_path / "whole/metrics.json").read_text())
    record = json.loads((tmp_path / "merged/record.json").read_text())
    assert record["protocol"]["reduced_batch_sizes"] == {"clean": 8, "contrast-1": 8}
