"""A training that is started again and again without a new save ends for good, with a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.errors import PeerLostError, StoppedError, UserError
from nofrost.ranks import Node
from nofrost.stopping import TerminatedError
from nofrost.store import Store, open_store
from nofrost.tasks.start_limit import START_LIMIT, limited_start
from nofrost.tasks.stored_saves import STARTS, saves_of, sweep_saves
from nofrost.tasks.task_errors import record_error
from tests.tasks.small_work import failing_work_in, store_in, work_in


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")
    return store_in(tmp_path / "store", monkeypatch)


def start(store: Store, tmp_path: Path, config: str = "config") -> None:
    """A start of the task of small_work.py."""
    with limited_start(saves_of(tmp_path / "out", [config], store), "train st, seed 0", store):
        pass


def start_in_vain(store: Store, tmp_path: Path, config: str = "config") -> None:
    for _ in range(START_LIMIT):
        start(store, tmp_path, config)


def test_the_start_after_three_in_vain_is_wrong_input_with_a_remedy(store: Store, tmp_path: Path) -> None:
    start_in_vain(store, tmp_path)
    record_error("evaluate st, seed 0", 1, "another task", store.url)
    for last in ("look at the logs", "the last start ended with: killed by signal 9: look at the logs"):
        message = f"train st, seed 0 was started 3 times in run run-1 without a new save, .* again: {last}"
        for _ in range(2):
            with pytest.raises(UserError, match=message) as end:
                start(store, tmp_path)
            assert end.value.exit_code == 2
            assert "submit again" in str(end.value)
        record_error("train st, seed 0", 137, "killed by signal 9", store.url)


def test_the_error_of_the_last_start_is_told_once(store: Store, tmp_path: Path) -> None:
    start_in_vain(store, tmp_path)
    record_error("train st, seed 0", 1, "a bug", store.url)
    for _ in range(3):
        with pytest.raises(UserError, match="ended with: a bug: look") as end:
            start(store, tmp_path)
        assert str(end.value).count("3 times") == 1
        record_error("train st, seed 0", 2, str(end.value), store.url)


def test_any_new_save_sets_the_count_to_zero(store: Store, tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        start_in_vain(store, tmp_path)
        with failing_work_in(tmp_path, store) as work:
            work.save(content)
    start_in_vain(store, tmp_path)
    with pytest.raises(UserError, match="3 times"):
        start(store, tmp_path)


def test_a_start_that_only_restores_a_save_counts(store: Store, tmp_path: Path) -> None:
    with failing_work_in(tmp_path, store) as work:
        work.save(b"first")
    for number in range(START_LIMIT):
        start(store, tmp_path)
        with failing_work_in(tmp_path / str(number), store) as work:
            assert work.saved() == b"first"
    with pytest.raises(UserError, match="3 times"):
        start(store, tmp_path)


def test_another_run_and_another_task_count_for_themselves(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_vain(store, tmp_path)
    start_in_vain(store, tmp_path, "other")
    monkeypatch.setenv("NOFROST_RUN_ID", "run-2")
    start_in_vain(store, tmp_path)
    with pytest.raises(UserError, match="in run run-2"):
        start(store, tmp_path)


def test_two_runs_of_the_same_training_that_alternate_both_come_to_an_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(START_LIMIT):
        for run in ("run-1", "run-2"):
            monkeypatch.setenv("NOFROST_RUN_ID", run)
            start(store, tmp_path)
    for run in ("run-1", "run-2"):
        monkeypatch.setenv("NOFROST_RUN_ID", run)
        with pytest.raises(UserError, match=f"3 times in run {run}"):
            start(store, tmp_path)


@pytest.mark.parametrize("stop", [StoppedError("stopped after saving"), TerminatedError()])
def test_a_start_that_sigterm_ends_does_not_count(store: Store, tmp_path: Path, stop: BaseException) -> None:
    saves = saves_of(tmp_path / "out", ["config"], store)
    for _ in range(2 * START_LIMIT):
        with pytest.raises(type(stop)), limited_start(saves, "train st, seed 0", store):
            raise stop
    start_in_vain(store, tmp_path)
    with pytest.raises(UserError, match="3 times"), limited_start(saves, "train st, seed 0", store):
        pass


def test_a_stop_of_one_run_leaves_the_starts_of_another(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_in_vain(store, tmp_path)
    monkeypatch.setenv("NOFROST_RUN_ID", "run-2")
    with (
        pytest.raises(StoppedError),
        limited_start(saves_of(tmp_path / "out", ["config"], store), "train st, seed 0", store),
    ):
        raise StoppedError("stopped")
    monkeypatch.setenv("NOFROST_RUN_ID", "run-1")
    with pytest.raises(UserError, match="in run run-1"):
        start(store, tmp_path)


def test_a_start_in_which_another_node_never_comes_counts(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: Any
) -> None:
    @contextmanager
    def lose(_: Node) -> Iterator[None]:
        raise PeerLostError("node 1 of 2 has not started within 600 s")
        yield

    monkeypatch.setattr("nofrost.tasks.nodes.all_nodes", lose)
    job = {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(f"PET_{name}", value)
    arguments = [begun.recipe, "st", "0", begun.dataset, begun.augmentation, store.url]
    codes = []
    for _ in range(START_LIMIT + 1):
        with pytest.raises(SystemExit) as end:
            tasks.train(tasks.Training(*arguments), nodes=2)
        codes.append(end.value.code)
    assert codes == [200, 200, 200, 2]


def test_without_a_run_nothing_is_counted(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOFROST_RUN_ID")
    for _ in range(2 * START_LIMIT):
        start(store, tmp_path)
    assert store.objects("nofrost/") == {}


def test_a_count_that_cannot_be_read_is_none(store: Store, tmp_path: Path) -> None:
    for damaged in (b"\xff", b"[]", b"null", json.dumps({"save": None, "starts": [3]}).encode()):
        saves_of(tmp_path / "out", ["config"], store).put(STARTS, damaged)
        start_in_vain(store, tmp_path)


def test_a_training_that_is_done_leaves_no_count(store: Store, tmp_path: Path) -> None:
    start(store, tmp_path)
    with work_in(tmp_path, store) as work:
        work.save(b"first")
    assert store.objects("nofrost/") == {}


def test_gc_keeps_the_count_as_long_as_the_save(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(store, tmp_path)
    assert sweep_saves(store, 0, delete=True) == []
    with failing_work_in(tmp_path, store) as work:
        work.save(b"first")
    assert sweep_saves(store, 0, delete=True) == []
    monkeypatch.setattr("nofrost.tasks.stored_saves._GIVEN_UP_AFTER_S", 0.0)
    assert sweep_saves(store, 0, delete=True)
    assert store.objects("nofrost/") == {}


def test_a_training_is_not_started_again_before_it_has_pulled_anything(
    begun: Any, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [begun.recipe, "st", "0", "data/dataset@" + 32 * "0" + ".dir", begun.augmentation]
    for code in (2, 2, 2, 2):
        with pytest.raises(SystemExit) as end:
            tasks.train(tasks.Training(*arguments, store.url))
        assert end.value.code == code
    assert "train st, seed 0 was started 3 times in run run-1 without a new save" in capsys.readouterr().err
    # The error that is recorded last says so.
    (record,) = (json.loads(store.get(name)) for name in store.objects("nofrost/runs/run-1/errors/"))
    assert record["input_is_wrong"] is True
    assert open_store(store.url).objects("nofrost/unfinished/")
