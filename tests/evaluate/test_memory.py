"""The size of a batch is found by memory, and mended where memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, memory
from nofrost.evaluate.memory import Pieces, fitting_batch_size, total_memory
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
    """Answers at most so many images at once; the error is that of a full memory."""

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
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, error: Exception
) -> None:
    suite = make_suite(batch_size=64, max_images=100)
    plain = evaluate_robustness(robust_model, *test_digits, suite)
    hungry = Hungry(robust_model, 20, error)
    found = evaluate_robustness(hungry, *test_digits, make_suite(batch_size=16, max_images=100))
    assert max(hungry.asked) <= 16
    halved = Hungry(robust_model, 20, error)
    whole = {name: flags.tolist() for name, flags in plain.flags.items()}
    assert {name: flags.tolist() for name, flags in found.flags.items()} == whole
    pieces = halved_flags(halved, test_digits, suite)
    assert pieces == whole
    assert halved.asked.count(64) >= 1
    assert 16 in halved.asked


def halved_flags(model: nn.Module, digits: Digits, suite: Any) -> dict[str, list[bool]]:
    """Measure what goes batch by batch; the probes for the alarms ask whole batches."""
    from nofrost.evaluate.measurement import Measurement
    from nofrost.evaluate.plan import make_plan
    from nofrost.evaluate.sample import sample_of_tensors
    from nofrost.evaluate.store import ConditionStore

    sample = sample_of_tensors(*digits, None, suite.max_images)
    measurement = Measurement(model, sample, suite.batch_size, CPU, ConditionStore(None))
    with measurement.ready():
        attacked = {name: measurement.attacked(each).tolist() for name, each in make_plan(suite).attacks.items()}
        flags = np.array([measurement.correct().tolist(), *attacked.values()])
    return {"clean": flags[0].tolist(), **attacked, "worst-case": flags.all(0).tolist()}


def test_a_memory_that_does_not_hold_one_image_is_told() -> None:
    def values(rows: Any) -> Any:
        raise torch.OutOfMemoryError

    with pytest.raises(UserError, match=r"memory of cpu does not hold a single image under pgd, linf 0\.1: free"):
        Pieces(CPU, "pgd, linf 0.1").compute(values, np.arange(8))


def test_pieces_stay_small_once_memory_ran_out_and_other_errors_come_through() -> None:
    asked: list[int] = []

    def values(rows: Any) -> Any:
        asked.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError
        return rows * 2

    pieces = Pieces(CPU, "this test")
    assert pieces.note == ""
    for start in (0, 10):
        assert pieces.compute(values, np.arange(start, start + 10)).tolist() == list(
            range(2 * start, 2 * start + 20, 2)
        )
    assert asked == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    assert pieces.note == "2 images at once for want of memory"

    def broken(rows: Any) -> Any:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        pieces.compute(broken, np.arange(4))
    assert not out_of_memory(RuntimeError("shapes do not match"))


def network(width: int) -> nn.Module:
    layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, 10)]
    return nn.Sequential(*layers).eval()


def size(model: nn.Module, bytes_of_the_machine: int, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(memory, "total_memory", lambda device: bytes_of_the_machine)
    return fitting_batch_size(model, torch.rand(1, 1, 8, 8))


def test_the_size_is_a_power_of_two_that_grows_with_memory_and_shrinks_with_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = [size(network(64), mebibytes << 20, monkeypatch) for mebibytes in (1, 2, 4, 8, 64, 1024)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[2]
    assert all(each & (each - 1) == 0 for each in sizes)
    assert sizes[-1] == memory.MOST_ON_CPU
    assert size(network(256), 8 << 20, monkeypatch) < size(network(64), 8 << 20, monkeypatch)
    assert size(network(64), 1, monkeypatch) == 1


def test_the_size_counts_the_activations_that_autograd_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    # kept of an image: itself (64 numbers), the output of ReLU (32 x 64), which the linear layer shares
    kept = 4 * (64 + 32 * 64)
    weights = sum(parameter.nbytes for parameter in network(32).parameters())
    of_an_image = memory.BACKWARD * kept + memory.COPIES * 4 * 64
    for wanted in (1, 2, 16):
        enough = int((weights + wanted * of_an_image) / memory.SHARE_OF_CPU) + 8
        assert size(network(32), enough, monkeypatch) == wanted
        assert size(network(32), int(enough * 0.95), monkeypatch) == max(1, wanted // 2)


def test_a_suite_without_a_size_finds_one_and_says_which(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = evaluate_robustness(robust_model, *test_digits, make_suite(max_images=20))
    assert result.protocol["batch_size"] == memory.MOST_ON_CPU
    monkeypatch.setattr(memory, "total_memory", lambda device: 1 << 18)
    small = evaluate_robustness(robust_model, *test_digits, make_suite(max_images=20))
    assert small.protocol["batch_size"] < memory.MOST_ON_CPU
    named = evaluate_robustness(robust_model, *test_digits, make_suite(max_images=20, batch_size=5))
    assert named.protocol["batch_size"] == 5


@pytest.mark.parametrize(("file", "text"), [("memory.max", "1048576\n"), ("memory.limit_in_bytes", "1048576\n")])
def test_memory_is_what_the_control_group_allows(tmp_path: Path, file: str, text: str) -> None:
    machine = total_memory(CPU, tmp_path)
    assert machine > 1 << 28
    (tmp_path / file).write_text("max\n")
    assert total_memory(CPU, tmp_path) == machine
    (tmp_path / file).write_text(text)
    assert total_memory(CPU, tmp_path) == 1 << 20


def test_the_probe_of_the_memory_leaves_no_gradient_behind() -> None:
    model = network(8)
    fitting_batch_size(model, torch.rand(1, 1, 8, 8))
    assert all(parameter.grad is None for parameter in model.parameters())
