"""How a task ends its process, and a training on several processes of one machine."""

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
from nofrost.errors import StoppedError, UserError
from nofrost.ranks import Node
from nofrost.store import Output, open_store, pull
from nofrost.tasks.starter import start
from nofrost.tasks.task_exit import FailedProcessError, exit_on_error
from tests.child_process import running

# Two processes on one node without GPUs, which a user may not ask for.
COMMAND = "from nofrost import models; models.require_gpus = lambda count: None; from nofrost.cli import main; main()"


@pytest.mark.parametrize(("error", "code"), [(UserError("wrong"), 2), (StoppedError("stopped"), 143)])
def test_exit_on_error_prints_one_sentence_and_exits_with_the_code_of_the_error(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_on_error(lambda **_: "task")
    def task(store: str) -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        task("no store")
    assert end.value.code == code
    assert capsys.readouterr().err == f"nofrost: {error}\n"


def test_exit_on_error_lets_a_bug_raise() -> None:
    @exit_on_error(lambda **_: "task")
    def task(store: str) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        task("no store")


@pytest.fixture
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Train on the CPU, and check that no temporary file remains."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    assert not list(temporary.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("_on_the_cpu")
def test_a_training_on_several_gpus_pushes_what_its_processes_made(
    begun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nofrost.models.require_gpus", lambda count: None)
    before = signal.getsignal(signal.SIGTERM)
    output = tasks.train(
        tasks.Training(begun.recipe, "st", "0", begun.dataset, begun.augmentation, begun.store), gpus=2
    )
    assert signal.getsignal(signal.SIGTERM) is before
    assert Output.parse(output).path == "runs/st/seed-0/train"
    pull(Output.parse(output).ref, tmp_path / "train", open_store(begun.store))
    record = json.loads((tmp_path / "train/record.json").read_text())
    assert record["steps"]["train"]["world_size"] == 2
    assert record["config"] == json.loads(begun.recipe)


@pytest.mark.slow
@pytest.mark.usefixtures("_on_the_cpu")
def test_the_exit_code_is_that_of_the_process_that_failed_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FailedProcessError) as end:
        start(["train", "--recipe=sta", "--dataset=d", f"--out={tmp_path / 'out'}"], 2, Node())
    assert end.value.code == 2
    assert end.value.message.startswith("unknown recipe 'sta'")
    assert capfd.readouterr().err.count("nofrost: unknown recipe 'sta'") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("_on_the_cpu")
def test_sigterm_is_passed_on_by_train_with_several_gpus(begun: Any, tmp_path: Path) -> None:
    pull(Output.parse(begun.dataset).ref, tmp_path / "dataset", open_store(begun.store))
    recipe = {**json.loads(begun.recipe), "schedule": {"epochs": 500, "batch_size": 32}}
    (tmp_path / "long.yaml").write_text(json.dumps(recipe))
    command = [
        sys.executable,
        "-c",
        COMMAND,
        "train",
        "--gpus=2",
        "--recipe=long.yaml",
        "--dataset=dataset",
        "--out=out",
    ]
    with running(command, cwd=tmp_path, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as starter:
        deadline = time.monotonic() + 200
        while not (tmp_path / ".out.nofrost-partial/unfinished/state.json").is_file():
            assert time.monotonic() < deadline
            assert starter.poll() is None
            time.sleep(0.05)
        starter.send_signal(signal.SIGTERM)
        _, err = starter.communicate(timeout=100)
    assert starter.returncode == 143
    assert err.endswith("nofrost: stopped after saving: the same command resumes from there\n")
    assert err.count("nofrost: stopped in epoch") == 1
