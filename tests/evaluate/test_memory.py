"""Evaluations that follow one another in one process keep nothing of the model's work."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness, transfer

CALLS = 50
ACTIVATIONS = 0.5  # megabytes
PAGE = 4096


class Wide(nn.Sequential):
    """A network with half a megabyte of activations for two images."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.append(nn.Linear(64, 10))


def resident() -> float:
    """Return the megabytes that the process has in memory, but for those that are free to be used again."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the memory from Linux' /proc")
@pytest.mark.parametrize("what", ["evaluation", "transfer"])
def test_memory_does_not_grow_over_fifty_calls(make_suite: Callable[..., AdversarialSuite], what: str) -> None:
    model, images = Wide(), torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        labels = model(images).argmax(1)
    suite = make_suite(attacks={"fgsm": {}, "square": {"queries": 2}}, cascade=True)

    def once() -> None:
        if what == "transfer":
            transfer({"a": model}, images, labels, create_attack("fgsm", eps=0.1))
        else:
            evaluate_robustness(model, images, labels, suite)

    for _ in range(3):
        once()
    before = resident()
    for _ in range(CALLS):
        once()
    assert resident() - before < CALLS * ACTIVATIONS / 10
