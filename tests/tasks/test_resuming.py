"""Tasks that are stopped or killed at any moment go on elsewhere from their saves, and end with equal bits."""

from __future__ import annotations

import glob
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.store import Output, Ref, Store, open_store, pull, push
from nofrost.tasks.stored_saves import POINTER
from tests.child_process import running

WAIT_S = 120
KILLS = 3
# What may be lost: far less than the shortest interval of saves (60 s), and more than a busy machine needs.
LOST_S = 20.0
# Enough for all kills on a machine that has nothing else to do.
EPOCHS, STEPS = 120, list(range(40, 160, 2))


class Task:
    """A task as a container runs it, `nofrost task train` or an evaluation, each try in a new folder for its files."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.command, self.folder, self.tries = command, folder, 0
        self.output = folder / "output"

    def start(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        self.tries += 1
        temporary = self.folder / f"try-{self.tries}"
        temporary.mkdir()
        environment = {**os.environ, "TMPDIR": str(temporary)}
        return running([sys.executable, *self.command], env=environment, stderr=subprocess.PIPE)

    def run(self) -> str:
        """Run a try to its end; return its output."""
        with self.start() as process:
            _, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, err.decode()
        return self.output.read_text().strip()

    def partial(self) -> Path | None:
        """Return the partial output of the newest try, None before there is one."""
        found = files_of(self.folder, f"try-{self.tries}/nofrost-*/runs/st/seed-*/**/.*.nofrost-partial")
        return found[0] if found else None


def files_of(folder: Path, pattern: str) -> list[Path]:
    """Return what matches in a folder at which a task is at work.

    A folder may go away while it is looked at, which Path.glob of Python 3.11 does not forgive.
    """
    names = glob.glob(pattern, root_dir=folder, recursive=True, include_hidden=True)  # noqa: PTH207
    return [folder / name for name in names]


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, "the task ended too soon for the test: give it more work"
        time.sleep(0.01)


def newest_save(store: Store, folder: Path) -> Path | None:
    """Pull the only save in the store to a new folder and return that; None if there is none."""
    pointers = [name for name in store.names("nofrost/") if name.endswith(f"/{POINTER}")]
    if not pointers:
        return None
    (name,) = pointers
    ref = Ref.parse(store.get(name).decode())
    target = folder / f"save-{ref.md5}"
    pull(ref, target, store.below(name.removesuffix(f"/{POINTER}")))
    return target


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty store: a folder, and a prefix on a real S3 server; `tests/servers/s3.py` starts one."""
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket = os.environ.get("NOFROST_TEST_S3")
    if not bucket:
        pytest.skip("NOFROST_TEST_S3 names no bucket: run this with `python tests/servers/s3.py -- pytest`")
    return f"{bucket}/{uuid.uuid4().hex}"


def copy_to(url: str, begun: Any, *outputs: str) -> Store:
    """Return the store at `url` with these outputs of another store, and with those that every training needs."""
    store = open_store(url)
    for output in (begun.dataset, begun.augmentation, *outputs):
        with tempfile.TemporaryDirectory() as folder:
            ref = Output.parse(output).ref
            pull(ref, Path(folder, "output"), open_store(begun.store))
            assert push(Path(folder, "output"), store) == ref
    return store


def training(begun: Any, url: str, folder: Path, seed: int, epochs: int) -> tuple[Task, list[str]]:
    """Return a training, and its arguments as a function takes them."""
    recipe = json.loads(begun.recipe)
    recipe["schedule"]["epochs"] = epochs
    arguments = [json.dumps(recipe), "st", str(seed), begun.dataset, begun.augmentation]
    options = ["recipe", "recipe-id", "seed", "dataset", "augmentation"]
    command = ["-m", "nofrost", "task", "train", "--store", url, "--output-file", str(folder / "output")]
    for option, value in zip(options, arguments, strict=True):
        command += [f"--{option}", value]
    return Task(command, folder), arguments


@pytest.mark.slow
def test_a_stopped_training_resumes_elsewhere_and_ends_with_the_same_bits(begun: Any, url: str, tmp_path: Path) -> None:
    store, (task, arguments) = copy_to(url, begun), training(begun, url, tmp_path, 3, 2)
    with task.start() as process:
        wait_until(lambda: (partial := task.partial()) and (partial / "unfinished/state.json").is_file(), process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 143
    assert err.decode().splitlines()[-1].startswith("nofrost: ")
    assert newest_save(store, tmp_path)
    assert not task.output.exists()
    assert not list(tmp_path.glob("try-1/nofrost-*")), "the workspace of the stopped task is deleted"
    undisturbed = tasks.train(tasks.Training(*arguments, begun.store))
    assert weights(task.run(), store, tmp_path / "a") == weights(undisturbed, open_store(begun.store), tmp_path / "b")


def kill_at_a_random_moment(task: Task, first: str, store: Store, *, is_last: bool) -> float:
    """Start a try, kill it up to 2 s after it has made a save, the file `first`; return when, in seconds since 1970.

    Earlier ones may be killed before anything is published, and the last one is not.
    """
    with task.start() as process:
        wait_until(lambda: (partial := task.partial()) and files_of(partial, f"**/{first}"), process)
        if is_last:
            wait_until(lambda: any(name.endswith(f"/{POINTER}") for name in store.names("nofrost/")), process)
        time.sleep(random.uniform(0, 2))
        assert process.poll() is None, "the task ended too soon for the test: give it more work"
        process.kill()
        killed = time.time()
        process.communicate(timeout=WAIT_S)
    assert process.returncode == -signal.SIGKILL
    return killed


@pytest.mark.slow
def test_a_training_that_is_killed_loses_seconds_and_ends_with_the_same_bits(
    begun: Any, url: str, tmp_path: Path
) -> None:
    store, (task, arguments) = copy_to(url, begun), training(begun, url, tmp_path, 4, EPOCHS)
    seconds = 0.0
    for number in range(KILLS):
        kill_at_a_random_moment(task, "state.json", store, is_last=number == KILLS - 1)
        partial, save = task.partial(), newest_save(store, tmp_path)
        assert partial
        made, kept = trained_seconds(partial), trained_seconds(save) if save else 0.0
        assert seconds <= kept <= made <= kept + LOST_S
        seconds = kept
    assert seconds > 0
    output = task.run()
    undisturbed = tasks.train(tasks.Training(*arguments, begun.store))
    assert weights(output, store, tmp_path / "a") == weights(undisturbed, open_store(begun.store), tmp_path / "b")


@pytest.mark.slow
def test_a_shard_that_is_killed_loses_seconds_and_ends_with_the_same_bits(begun: Any, url: str, tmp_path: Path) -> None:
    checkpoint = tasks.train(tasks.Training(begun.recipe, "st", "5", begun.dataset, begun.augmentation, begun.store))
    suite = begun.study.suites.adversarial["quick"].as_json()
    suite["steps_curve"]["steps"] = STEPS
    arguments = [json.dumps(suite), "quick", begun.dataset, checkpoint, "0/2"]
    store = copy_to(url, begun, checkpoint)
    script = "import pathlib, sys; from nofrost import tasks; "
    script += "pathlib.Path(sys.argv[1]).write_text(tasks.evaluate_shard(*sys.argv[2:]))"
    task = Task(["-c", script, str(tmp_path / "output"), *arguments, store.url], tmp_path)
    measured = 0
    for number in range(KILLS):
        killed = kill_at_a_random_moment(task, "*.npz", store, is_last=number == KILLS - 1)
        partial = task.partial()
        assert partial
        save = newest_save(store, tmp_path)
        kept = {path.relative_to(save) for path in save.rglob("*.npz")} if save else set()
        lost = [path for path in partial.rglob("*.npz") if path.relative_to(partial) not in kept]
        assert all(killed - path.stat().st_mtime <= LOST_S for path in lost)
        assert measured <= len(kept)
        measured = len(kept)
    assert measured > 0
    assert task.run() == tasks.evaluate_shard(*arguments, begun.store)


def trained_seconds(partial: Path) -> float:
    return float(json.loads((partial / "unfinished/state.json").read_text())["content"]["state"]["seconds"])


def weights(output: str, store: Store, folder: Path) -> bytes:
    pull(Output.parse(output).ref, folder, store)
    return (folder / "last.safetensors").read_bytes()
