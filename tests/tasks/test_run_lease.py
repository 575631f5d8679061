"""The lease of the runs of a name: who has it, until when, and who gets it next."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import Store, find_lease, open_store
from nofrost.tasks.run_lease import (
    RUNNING_S,
    STARTING_S,
    RunGoesOnError,
    give_to_run,
    take_lease_of_schedule,
    take_run_lease,
)
from nofrost.tasks.run_record import RunRecord, write_record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def holder(store: Store) -> str:
    lease = find_lease(store, "weekly")
    assert lease is not None
    return lease.holder


def end(run: str, store: Store) -> None:
    write_record(RunRecord(run, "failed", "", [], "FAILED", "2026-11-29T12:00:00Z"), store)


@pytest.mark.parametrize("scheduled", [False, True])
def test_it_is_held_until_the_record_of_the_run_is_there(store: Store, scheduled: bool) -> None:
    lease = take_run_lease(store, "weekly", "first", scheduled=scheduled)
    with pytest.raises(RunGoesOnError) as starting:
        take_run_lease(store, "weekly", "second", scheduled=not scheduled)
    assert (starting.value.run_id, starting.value.scheduled) == ("", scheduled)
    give_to_run(lease, "run-1", scheduled=scheduled)
    with pytest.raises(RunGoesOnError, match=r"weekly has a (scheduled|submitted) run run-1 .*--run-name") as goes_on:
        take_run_lease(store, "weekly", "second", scheduled=not scheduled)
    assert (goes_on.value.run_id, goes_on.value.scheduled) == ("run-1", scheduled)
    end("run-1", store)
    give_to_run(take_run_lease(store, "weekly", "second", scheduled=not scheduled), "run-2", scheduled=not scheduled)
    assert holder(store).endswith("run run-2")


def test_the_one_who_starts_a_run_gets_it_again(store: Store) -> None:
    take_run_lease(store, "weekly", "job", scheduled=True)
    give_to_run(take_run_lease(store, "weekly", "job", scheduled=True), "run-1", scheduled=True)
    assert holder(store) == "scheduled run run-1"


def test_it_ends_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = take_run_lease(store, "weekly", "first", scheduled=True)
    assert timedelta(seconds=STARTING_S - 60) < lease.end - datetime.now(UTC) <= timedelta(seconds=STARTING_S)
    lease = give_to_run(lease, "run-1", scheduled=True)
    assert timedelta(seconds=RUNNING_S - 60) < lease.end - datetime.now(UTC) <= timedelta(seconds=RUNNING_S)
    lease.renew(-3600)
    assert take_run_lease(store, "weekly", "second", scheduled=False).name == "weekly"


def test_a_run_that_kubeflow_starts_takes_it_and_has_it_when_its_task_is_tried_again(store: Store) -> None:
    for _ in range(2):
        lease = take_lease_of_schedule(store, "weekly", "run-1")
        assert holder(store) == "scheduled run run-1"
        assert lease.end > datetime.now(UTC) + timedelta(seconds=RUNNING_S - 60)
    with pytest.raises(RunGoesOnError, match="weekly has a scheduled run run-1"):
        take_run_lease(store, "weekly", "somebody", scheduled=False)


def test_a_run_that_kubeflow_starts_takes_it_from_a_killed_one_of_the_schedule(store: Store) -> None:
    take_lease_of_schedule(store, "weekly", "killed-without-a-record")
    take_lease_of_schedule(store, "weekly", "run-2")
    assert holder(store) == "scheduled run run-2"


def test_a_run_that_kubeflow_starts_does_not_take_it_from_a_submitted_one(store: Store) -> None:
    give_to_run(take_run_lease(store, "weekly", "somebody", scheduled=False), "run-1", scheduled=False)
    with pytest.raises(RunGoesOnError, match="weekly has a submitted run run-1"):
        take_lease_of_schedule(store, "weekly", "run-2")
    end("run-1", store)
    take_lease_of_schedule(store, "weekly", "run-2")
    assert holder(store) == "scheduled run run-2"


def test_of_eight_at_once_one_gets_it(store: Store) -> None:
    give_to_run(take_run_lease(store, "weekly", "first", scheduled=True), "run-1", scheduled=True)
    end("run-1", store)
    got: list[str] = []
    start = threading.Barrier(8)

    def take(starter: str) -> None:
        start.wait()
        try:
            take_run_lease(store, "weekly", starter, scheduled=True)
        except UserError:
            return
        got.append(starter)

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert holder(store) == f"scheduled run, by {got[0]}"
