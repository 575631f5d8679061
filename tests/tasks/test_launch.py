"""Several processes of nofrost on one machine, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.store import Output, open_store, pull
from nofrost.tasks.launch import launch

pytestmark = pytest.mark.slow
LAUNCH = "import sys; from nofrost.tasks.launch import launch; launch(sys.argv[2:], int(sys.argv[1]))"


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """And nothing stays among the temporary files."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    assert not list(temporary.iterdir())


def test_a_training_on_several_gpus_pushes_what_its_processes_made(
    begun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nofrost.models.require_gpus", lambda count: None)
    before = signal.getsignal(signal.SIGTERM)
    made = tasks.train(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store, gpus=2)
    assert signal.getsignal(signal.SIGTERM) is before
    assert Output.parse(made).path == "runs/st/seed-0/train"
    pull(Output.parse(made).ref, tmp_path / "train", open_store(begun.store))
    record = json.loads((tmp_path / "train/record.json").read_text())
    assert record["steps"]["train"]["world_size"] == 2
    assert record["config"] == json.loads(begun.recipe)


def test_the_exit_code_is_that_of_the_process_that_failed_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        launch(["train", "--recipe=sta", "--dataset=d", f"--out={tmp_path / 'out'}"], 2)
    assert end.value.code == 2
    assert capfd.readouterr().err.count("nofrost: unknown recipe 'sta'") == 1


def test_sigterm_is_passed_on_and_told_as_stopped(begun: Any, tmp_path: Path) -> None:
    pull(Output.parse(begun.dataset).ref, tmp_path / "dataset", open_store(begun.store))
    recipe = {**json.loads(begun.recipe), "schedule": {"epochs": 500, "batch_size": 32}}
    (tmp_path / "long.yaml").write_text(json.dumps(recipe))
    options = ["train", "--recipe=long.yaml", "--dataset=dataset", "--out=out"]
    command = [sys.executable, "-c", LAUNCH, "2", *options]
    with subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as launcher:
        deadline = time.monotonic() + 200
        while not (tmp_path / "out.partial/state.json").is_file():
            assert time.monotonic() < deadline
            assert launcher.poll() is None
            time.sleep(0.05)
        launcher.send_signal(signal.SIGTERM)
        _, said = launcher.communicate(timeout=100)
    assert "StoppedError: stopped after saving" in said
    assert said.count("nofrost: stopped in epoch") == 1
