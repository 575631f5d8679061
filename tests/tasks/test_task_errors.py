"""The error that ends a task is in the store, without secrets, and is never hidden by an error of the store."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.cluster.job.spec import Training
from nofrost.errors import StoppedError, UnavailableError, UserError
from nofrost.store import open_store
from nofrost.store.local import LocalStore
from nofrost.system_errors import cannot_read, cannot_write
from nofrost.tasks import task_errors
from nofrost.tasks.task_errors import errors_of
from nofrost.tasks.task_exit import FailedProcessError, exit_on_error

LABEL = exit_on_error(lambda seed, **_: f"train sat, seed {seed}")
NAME = "nofrost/runs/run-1/errors/train-sat-seed-0.json"


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")


def failing(error: BaseException) -> Callable[[str, str], None]:
    @LABEL
    def task(seed: str, store: str) -> None:
        raise error

    return task


@pytest.mark.parametrize(
    ("error", "code", "message", "input_is_wrong"),
    [
        (UserError("recipes.sat: unknown key"), 2, "recipes.sat: unknown key", True),
        (UnavailableError("it cannot be reached"), 1, "it cannot be reached", False),
        (StoppedError("stopped after saving"), 143, "stopped after saving", False),
        (KeyError("a bug"), 1, "KeyError: 'a bug'", False),
        (FailedProcessError(137, "Signal 9 (SIGKILL) received"), 137, "Signal 9 (SIGKILL) received", False),
        (FailedProcessError(2, "recipes.sat: unknown key"), 2, "recipes.sat: unknown key", True),
    ],
)
def test_the_error_of_a_task_is_in_the_store(
    error: BaseException, code: int, message: str, input_is_wrong: bool, tmp_path: Path
) -> None:
    with pytest.raises((SystemExit, KeyError)) as end:
        failing(error)("0", str(tmp_path))
    assert code == (end.value.code if isinstance(end.value, SystemExit) else 1)
    record = json.loads(open_store(str(tmp_path)).get(NAME))
    assert datetime.fromisoformat(record.pop("time")).tzinfo
    expected = {"task": "train sat, seed 0", "exit_code": code, "message": message, "input_is_wrong": input_is_wrong}
    assert record == expected


def full_disk() -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise cannot_write(error, Path("/data")) from error


def broken_disk() -> None:
    try:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/data")
    except OSError as error:
        raise cannot_read(error, "/data") from None


def no_memory() -> None:
    raise MemoryError


def no_temporary_folder() -> None:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def too_many_open_files() -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/data")


@pytest.mark.parametrize(
    ("fail", "code"),
    [
        # Another machine may do it: operators of jobs never try again after 2.
        *[(fail, 1) for fail in (full_disk, broken_disk, no_temporary_folder, too_many_open_files)],
        (no_memory, 2),
    ],
)
def test_the_input_is_not_to_blame_for_a_node(fail: Callable[[], None], code: int, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        LABEL(lambda seed, store: fail())("0", str(tmp_path))
    (error,) = errors_of("run-1", open_store(str(tmp_path)))
    assert (end.value.code, error.exit_code, error.input_is_wrong) == (code, code, False)


def missing_file() -> None:
    try:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/data")
    except OSError as error:
        raise cannot_read(error, "/data") from error


def test_the_input_is_to_blame_for_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        LABEL(lambda seed, store: missing_file())("0", str(tmp_path))
    (error,) = errors_of("run-1", open_store(str(tmp_path)))
    assert error.input_is_wrong


def test_a_later_try_that_succeeds_deletes_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        failing(UserError("the network"))("0", str(tmp_path))
    with pytest.raises(SystemExit):
        failing(UserError("of another task"))("1", str(tmp_path))
    task = LABEL(lambda seed, store: "output")
    assert task("0", str(tmp_path)) == "output"
    assert [error.task for error in errors_of("run-1", open_store(str(tmp_path)))] == ["train sat, seed 1"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"task": "train"}'])
def test_an_error_that_is_deleted_meanwhile_and_what_is_none_are_left_out(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, get = open_store(str(tmp_path)), LocalStore.get
    for seed in "01":
        with pytest.raises(SystemExit):
            failing(UserError("wrong"))(seed, store.url)
    store.put("nofrost/runs/run-1/errors/other.json", content)
    capsys.readouterr()

    def late(self: LocalStore, name: str) -> bytes:
        store.delete([NAME])
        return get(self, name)

    monkeypatch.setattr(LocalStore, "get", late)
    assert [error.task for error in errors_of("run-1", store)] == ["train sat, seed 1"]
    assert capsys.readouterr().err.count("errors/other.json") == 1


def test_nothing_is_recorded_outside_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOFROST_RUN_ID")
    with pytest.raises(SystemExit):
        failing(UserError("wrong"))("0", str(tmp_path))
    assert LABEL(lambda seed, store: "output")("0", str(tmp_path)) == "output"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("store", ["ftp://x/y", "s3://bucket", "/dev/null/store"])
def test_a_store_that_cannot_be_used_does_not_hide_the_error(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SystemExit) as end:
        failing(UserError("wrong"))("0", store)
    assert end.value.code == 2
    assert capsys.readouterr().err == "nofrost: wrong\n"
    with pytest.raises(KeyError, match="a bug"):
        failing(KeyError("a bug"))("0", store)
    assert LABEL(lambda seed, store: "output")("0", store) == "output"


def test_a_store_that_does_not_answer_delays_the_end_by_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, proceed = [], threading.Event()

    def hang(self: LocalStore, name: str, content: bytes) -> None:
        shown.append(capsys.readouterr().err)
        proceed.wait(60)

    monkeypatch.setattr(task_errors, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(LocalStore, "put", hang)
    begun = time.monotonic()
    with pytest.raises(SystemExit):
        failing(UserError("wrong"))("0", str(tmp_path))
    assert time.monotonic() - begun < 30
    assert shown == ["nofrost: wrong\n"], "the message is printed before the store is asked"
    proceed.set()


@pytest.mark.parametrize(
    ("task", "arguments", "label"),
    [
        (tasks.prepare, {"spec": "{", "source": ""}, "prepare"),
        (tasks.train, {"recipe": "{", "recipe_id": "sat", "seed": "3", "dataset": "d", "augmentation": "a"},
         "train sat, seed 3"),
        (tasks.evaluate_shard, {"suite": '{"kind": "ood"}', "suite_id": "quick", "dataset": "d", "shard": "0/4"},
         "evaluate-ood sat, seed 3, quick, shard 0/4"),
        (tasks.evaluate, {"suite": '{"kind": "adversarial"}', "suite_id": "quick", "dataset": "d", "shards": []},
         "evaluate-adversarial sat, seed 3, quick"),
        (tasks.evaluate, {"suite": '{"kind": "ood"}', "suite_id": "quick", "dataset": "d", "shards": ["a"]},
         "evaluate-ood sat, seed 3, quick, merge"),
        (tasks.evaluate, {"suite": "{", "suite_id": "quick", "dataset": "d", "shards": []}, "evaluate"),
        (tasks.report, {"study": "{", "dataset": "d", "augmentation": "a", "runs": [], "html": "h", "markdown": "m"},
         "report"),
        (tasks.write_candidate, {"study": "{", "source": "", "outputs": [], "run": "r", "image": "i"},
         "write-candidate"),
    ],
)  # fmt: skip
def test_tasks_have_names_that_people_read(
    task: Callable[..., Any], arguments: dict[str, Any], label: str, tmp_path: Path
) -> None:
    if task in (tasks.evaluate, tasks.evaluate_shard):
        arguments = {**arguments, "checkpoint": f"runs/sat/seed-3/train@{'0' * 32}.dir"}
    arguments = {**arguments, "store": str(tmp_path / "store")}
    if task is tasks.train:
        arguments = {"training": Training(**arguments)}
    with pytest.raises((SystemExit, ValueError)):
        task(**arguments)
    (error,) = errors_of("run-1", open_store(str(tmp_path / "store")))
    assert error.task == label


def end_node(node: int, error: BaseException, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a training ends by this error."""
    monkeypatch.setenv("PET_NODE_RANK", str(node))
    with pytest.raises((SystemExit, KeyError)):
        failing(error)("0", store)


LOST, KILLED = FailedProcessError(200, "another process is gone"), FailedProcessError(137, "killed by signal 9")


def test_the_loss_of_another_node_hides_no_error_of_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, kept in ((LOST, 200), (KILLED, 137), (LOST, 137), (UserError("wrong"), 2), (LOST, 2)):
        end_node(0, error, str(tmp_path), monkeypatch)
        (recorded,) = errors_of("run-1", open_store(str(tmp_path)))
        assert recorded.exit_code == kept


@pytest.mark.parametrize("nodes", [(0, 1, 12), (12, 0, 1), (1, 12, 0)])
def test_of_the_errors_of_several_nodes_the_cause_is_read(
    nodes: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node, error in zip(nodes, (LOST, KILLED, KeyError("a bug")), strict=True):
        end_node(node, error, str(tmp_path), monkeypatch)
    store = open_store(str(tmp_path))
    assert len(store.objects("nofrost/runs/run-1/errors/")) == 3
    (recorded,) = errors_of("run-1", store)
    assert (recorded.task, recorded.exit_code) == ("train sat, seed 0", 137)


def test_an_error_of_an_earlier_try_is_not_the_cause_of_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    end_node(1, KILLED, store.url, monkeypatch)
    name = NAME.replace(".json", "-node-1.json")
    record = json.loads(store.get(name))
    end_node(0, KeyError("a bug"), store.url, monkeypatch)
    now = datetime.fromisoformat(record["time"])
    for age_s, code, recent in ((30, 137, 137), (3600, 1, 1)):
        store.put(name, json.dumps({**record, "time": (now - timedelta(seconds=age_s)).isoformat()}).encode())
        assert [error.exit_code for error in errors_of("run-1", store)] == [code]
        since = now - timedelta(seconds=60)
        assert [error.exit_code for error in errors_of("run-1", store, since)] == [recent]
        assert errors_of("run-1", store, now + timedelta(hours=1)) == []


def test_a_node_that_succeeds_deletes_the_errors_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for node in (0, 1, 12):
        end_node(node, LOST, str(tmp_path), monkeypatch)
    monkeypatch.delenv("PET_NODE_RANK")
    with pytest.raises(SystemExit):
        failing(UserError("of another task"))("01", str(tmp_path))
    assert LABEL(lambda seed, store: "output")("0", str(tmp_path)) == "output"
    assert [error.task for error in errors_of("run-1", open_store(str(tmp_path)))] == ["train sat, seed 01"]
