"""A loss that is not finite, and lack of memory, end in one sentence that says what to do."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nofrost.errors import UserError
from nofrost.train.failures import check_finite, oom_message


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_epoch_remedies_and_checkpoint(loss: float) -> None:
    with pytest.raises(UserError) as error:
        check_finite(loss, 7, Path(".out.nofrost-partial/unfinished/best-00005.safetensors"))
    for words in (f"became {loss} in epoch 7", "lower optimiser.lr", "adaptive_clipping", "best-00005.safetensors"):
        assert words in str(error.value)
    with pytest.raises(UserError, match="no checkpoint of it yet"):
        check_finite(loss, 1, None)


@pytest.mark.parametrize("loss", [0.0, -1.0, 1e38, sys.float_info.max])
def test_any_finite_loss_passes(loss: float) -> None:
    check_finite(loss, 1, None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError("Unable to allocate 3.81 TiB for an array"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1099511627776 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["accelerator", "numpy", "linux", "windows", "cublas"],
)
def test_every_out_of_memory_error_names_the_batch_size(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"a training step on 256 images: lower schedule\.batch_size") as error_info,
        oom_message(256),
    ):
        raise error
    assert error_info.value.__cause__ is None
    assert "\n" not in str(error_info.value)


def test_an_allocation_that_fails_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"schedule\.batch_size"), oom_message(64):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shapes do not match"), oom_message(64):
        raise RuntimeError("shapes do not match")
    with pytest.raises(UserError, match="of another kind"), oom_message(64):
        raise UserError("of another kind")


LIMITED = """
import resource, sys
import torch
from torch import nn
from nofrost.errors import UserError
from nofrost.train.failures import oom_message

torch.set_num_threads(1)
network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.Flatten(), nn.LazyLinear(2))

def step(size):
    with oom_message(size):
        network(torch.rand(size, 3, 32, 32)).sum().backward()

step(2)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
step(2)
try:
    step(2048)
except UserError as error:
    sys.exit(f"{error}; then {step(2)}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's memory is Linux's")
def test_a_process_at_its_memory_limit_gets_one_sentence_and_can_continue() -> None:
    ended = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=120)
    assert ended.stderr.startswith("memory does not hold a training step on 2048 images: lower schedule.batch_size")
    assert ended.stderr.strip().endswith("; then None")
