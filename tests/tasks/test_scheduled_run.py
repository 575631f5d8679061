"""What the CronJob of a schedule does: one run for each time, none while the last one goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("urllib3")
pytest.importorskip("cronsim")

from nofrost.errors import UnavailableError, UserError
from nofrost.store import Store, find_lease, open_store
from nofrost.tasks.run_lease import RunGoesOnError, give_to_run, take_run_lease
from nofrost.tasks.run_record import RunRecord, write_record
from nofrost.tasks.scheduled_run import HOST, JOB, start_scheduled_run
from tests.pipelines.schedule.recurring_double import RecurringDouble

REQUEST: dict[str, Any] = {
    "description": "schedule weekly",
    "experiment_id": "experiment",
    "pipeline_version_reference": {"pipeline_id": "pipeline", "pipeline_version_id": "version"},
    "runtime_config": {"parameters": {"data_ref": "latest:photos", "store": ""}},
    "service_account": "nofrost",
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Store:
    """The store of the runs, in a folder."""
    opened = open_store(str(tmp_path / "store"))
    REQUEST["runtime_config"] = {"parameters": {"data_ref": "latest:photos", "store": opened.url}}
    return opened


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecurringDouble]:
    with RecurringDouble() as double:
        thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        double.versions.append({"pipeline_id": "pipeline", "pipeline_version_id": "version"})
        double.experiments.append({"experiment_id": "experiment", "display_name": "e"})
        monkeypatch.setenv(HOST, double.url)
        monkeypatch.setenv(JOB, "nofrost-schedule-weekly-1")
        yield double
        double.shutdown()
        thread.join()
    assert not double.errors


def start(token_file: Path = Path("no token"), **changes: Any) -> Any:
    return start_scheduled_run("weekly", json.dumps({**REQUEST, **changes}), token_file)


def test_a_run_is_started_with_the_name_of_the_job(kfp: RecurringDouble) -> None:
    assert start() == ("run-1", True)
    assert kfp.runs == [{**REQUEST, "display_name": "nofrost-schedule-weekly-1"}]


def test_the_token_of_the_pod_is_sent(kfp: RecurringDouble, tmp_path: Path) -> None:
    kfp.token = "secret"
    with pytest.raises(UserError, match=r"refuses to list the runs \(401.*allow this pod's service account"):
        start()
    (tmp_path / "token").write_text("secret\n")
    assert start(tmp_path / "token").started


def test_a_second_pod_of_the_same_job_starts_no_second_run(kfp: RecurringDouble) -> None:
    start()
    kfp.states["run-1"] = "RUNNING"
    assert start() == ("run-1", True)
    assert len(kfp.runs) == 1


@pytest.mark.parametrize(
    ("state", "starts"),
    [("RUNNING", False), ("PENDING", False), ("CANCELING", False), ("FAILED", True)],
)
def test_none_is_started_while_the_last_one_goes_on(
    kfp: RecurringDouble, monkeypatch: pytest.MonkeyPatch, state: str, starts: bool
) -> None:
    start()
    kfp.states["run-1"] = state
    monkeypatch.setenv(JOB, "nofrost-schedule-weekly-2")
    assert start() == (("run-2", True) if starts else ("run-1", False))


def test_the_run_of_a_pod_that_was_killed_gets_the_lease_from_the_next_pod(kfp: RecurringDouble, store: Store) -> None:
    kfp.lost = "POST .*/runs"
    with pytest.raises(UnavailableError):
        start()
    kfp.states["run-1"] = "RUNNING"
    assert start() == start() == ("run-1", True)
    with pytest.raises(RunGoesOnError, match="scheduled run run-1"):
        take_run_lease(store, "weekly", "somebody", scheduled=False)


def test_runs_of_others_do_not_count(kfp: RecurringDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    start()
    kfp.states["run-1"] = "RUNNING"
    monkeypatch.setenv(JOB, "nofrost-schedule-daily-1")
    request = json.dumps({**REQUEST, "description": "schedule daily"})
    assert start_scheduled_run("daily", request, Path("no token")).started


def ended(run: str) -> RunRecord:
    return RunRecord(run, "succeeded", "", [], "SUCCEEDED", "2026-11-29T12:00:00Z")


def test_none_is_started_beside_one_that_was_submitted_by_hand(kfp: RecurringDouble, store: Store) -> None:
    lease = take_run_lease(store, "weekly", "somebody", scheduled=False)
    assert start() == ("", False)
    give_to_run(lease, "by-hand", scheduled=False)
    assert start() == ("by-hand", False)
    assert kfp.runs == []
    write_record(ended("by-hand"), store)
    assert start() == ("run-1", True)
    found = find_lease(store, "weekly")
    assert found is not None
    assert found.holder == "scheduled run run-1"


def test_an_answer_that_is_lost_is_no_second_run(kfp: RecurringDouble) -> None:
    kfp.lost = "POST .*/runs"
    with pytest.raises(UnavailableError, match=r"does not answer when asked to start the run .* may reach it"):
        start()
    kfp.states["run-1"] = "RUNNING"
    assert start().started
    assert len(kfp.runs) == 1


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((500, {"message": "no database"}), UnavailableError, r"\(500: no database\): it is tried again"),
        ((429, {"message": "busy"}), UnavailableError, "it is tried again"),
        ((400, {"error": "no such version"}), UserError, r"\(400: no such version\): schedule it again"),
        ((403, {"message": "no"}), UserError, "allow this pod's service account"),
        ("login", UserError, r"refuses to start the run \(302"),
        ("page", UserError, "is not a KFP API: give its address with --cluster-host"),
    ],
)
def test_an_error_is_one_sentence_and_tried_again_where_that_may_help(
    kfp: RecurringDouble, answer: Any, error: type[Exception], message: str
) -> None:
    kfp.fault("POST .*/runs", answer)
    with pytest.raises(error, match=message) as raised:
        start()
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("request_", ["", "{", "[]", "1", '{"experiment_id": "x"}'])
def test_a_request_of_somebody_else_is_refused(kfp: RecurringDouble, request_: str) -> None:
    with pytest.raises(UserError, match="--request is not that of a schedule"):
        start_scheduled_run("weekly", request_)


def test_outside_of_a_cronjob_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOST, raising=False)
    with pytest.raises(UserError, match="this command is for CronJobs"):
        start_scheduled_run("weekly", json.dumps(REQUEST))
