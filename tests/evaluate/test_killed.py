"""A process that is killed in the middle of a suite loses at most the batch that it was in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Every call of the model leaves a byte in calls.log: kept by the system when the process is killed.
SCRIPT = """
import os, signal, sys
import torch
from torch import nn
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness

torch.set_num_threads(1)
folder, fatal = sys.argv[1], int(sys.argv[2])

class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))

    def forward(self, images):
        log = os.open(f"{folder}/calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, b".")
        if os.fstat(log).st_size == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(log)
        return self.layers(images)

suite = AdversarialSuite.model_validate({
    "kind": "adversarial", "title": "Killed", "citation": "this test", "protocol": "quick", "cascade": True,
    "threat": {"norm": "linf", "eps": 0.02}, "batch_size": 8, "properties": {"decision_margin": True},
    "attacks": {"pgd": {"steps": 4}, "apgd-ce": {"steps": 5}},
})
generator = torch.Generator().manual_seed(0)
images = torch.rand(40, 1, 8, 8, generator=generator)
model = Counted()
labels = model.layers(images).argmax(1)
result = evaluate_robustness(model, images, labels, suite, checkpoint_dir=f"{folder}/kept")
import numpy as np
np.savez(f"{folder}/result.npz", **result.arrays())
"""
STARTING = 4  # calls that every start makes: the model is tried on an image, and its gradient is
CALLS_OF_A_BATCH = 7  # APGD's start and 5 steps, and the check of what it found


def run(folder: Path, fatal: int) -> int:
    """Evaluate in a process that is killed in the call of the model of this number; return its exit code."""
    folder.mkdir(exist_ok=True)
    return subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(fatal)], check=False, timeout=120).returncode


def calls(folder: Path) -> int:
    return (folder / "calls.log").stat().st_size


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_killed_suite_repeats_at_most_a_batch_and_ends_with_the_same_numbers(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, 0) == 0
    assert run(killed, 55) == -signal.SIGKILL
    assert calls(killed) == 55
    assert list((killed / "kept").rglob("*.batch-*.npz")), "the kill was in the middle of an attack"
    assert run(killed, 0) == 0
    assert calls(whole) < calls(killed) <= calls(whole) + STARTING + CALLS_OF_A_BATCH
    expected, found = np.load(whole / "result.npz"), np.load(killed / "result.npz")
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name
    assert not list((killed / "kept").rglob("*.batch-*.npz"))
    assert 0 < expected["correct/worst-case"].sum() < 40
