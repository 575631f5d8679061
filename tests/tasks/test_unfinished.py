"""Unfinished work: what a stopped or killed try of a task leaves in the store, the next one goes on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.errors import UserError
from nofrost.store import Output, open_store, pull
from nofrost.tasks import unfinished
from nofrost.tasks.unfinished import checkpointed_in_store


def fail_after_writing(out: Path, text: str) -> None:
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True)
    (partial / "state").write_text(text)
    raise UserError("stopped here")


def test_what_a_failed_try_leaves_is_there_in_another_workspace(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError, match="stopped here"), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert (tmp_path / "two/out.partial/state").read_text() == "half"


def test_work_of_another_configuration_is_not_taken_over(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    with checkpointed_in_store(tmp_path / "two/out", ["other"], store):
        assert not (tmp_path / "two").exists()


def test_work_is_kept_now_and_then_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill leaves no time to keep anything."""
    monkeypatch.setattr(unfinished, "INTERVAL_S", 0.05)
    store = open_store(str(tmp_path / "store"))
    with checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        (tmp_path / "one/out.partial").mkdir(parents=True)
        (tmp_path / "one/out.partial/state").write_text("half")
        deadline = time.monotonic() + 60
        while not store.names("nofrost/unfinished/"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert (tmp_path / "two/out.partial/state").read_text() == "half"


def test_a_store_that_lost_the_work_costs_time_and_nothing_else(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    for file in (tmp_path / "store/files").rglob("*"):
        if file.is_file():
            file.unlink()
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert not (tmp_path / "two/out.partial").exists()


@pytest.mark.slow
def test_a_training_that_is_stopped_goes_on_elsewhere_and_ends_with_the_same_bits(begun: Any, tmp_path: Path) -> None:
    store = open_store(begun.store)
    one, two, output = tmp_path / "one", tmp_path / "two", tmp_path / "output"
    one.mkdir()
    two.mkdir()
    command = [sys.executable, "-m", "nofrost", "task", "train", "--recipe", begun.recipe, "--recipe-id", "st"]
    command += ["--seed", "3", "--dataset", begun.dataset, "--augmentation", begun.augmentation]
    command += ["--store", begun.store, "--output-file", str(output)]
    before = set(store.names("nofrost/unfinished/"))
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(one)}, stderr=subprocess.PIPE) as training:
        deadline = time.monotonic() + 120
        while not list(one.glob("nofrost-*/runs/st/seed-3/train.partial/state.json")):
            assert time.monotonic() < deadline
            assert training.poll() is None, "too quick for us: train longer"
            time.sleep(0.005)
        training.send_signal(signal.SIGTERM)
        assert training.wait(timeout=120) == 143
        assert training.stderr is not None
        assert training.stderr.read().decode().splitlines()[-1].startswith("nofrost: ")
    assert len(set(store.names("nofrost/unfinished/")) - before) == 1
    assert not output.exists()
    assert not list(one.iterdir()), "the workspace of the stopped task is gone"
    again = subprocess.run(command, env={**os.environ, "TMPDIR": str(two)}, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    undisturbed = tasks.train(begun.recipe, "st", "3", begun.dataset, begun.augmentation, _other(begun, tmp_path))
    weights = []
    for number, text in enumerate((output.read_text(), undisturbed)):
        folder = tmp_path / f"weights-{number}"
        pull(Output.parse(text).ref, folder, open_store(begun.store if number == 0 else _other(begun, tmp_path)))
        weights.append((folder / "last.safetensors").read_bytes())
    assert weights[0] == weights[1]


def _other(begun: Any, tmp_path: Path) -> str:
    """A second store with the same data and no unfinished work."""
    folder = tmp_path / "other"
    if not folder.exists():
        folder.mkdir()
        (folder / "files").symlink_to(Path(begun.store) / "files")
    return str(folder)
