"""Schedules in UTC as recurring runs: made once, changed only where they differ, one at a time, and never by chance."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("kfp")

from nofrost.config import load_study
from nofrost.errors import RunFailedError, UserError
from nofrost.store import LeaseError, acquire_lease, open_store
from nofrost.tasks.run_lease import RunGoesOnError
from pipelines.schedule.study_schedule import read_times, schedule_study
from pipelines.submit import ApiError, Endpoint, SubmitRequest, submit_study
from tests.pipelines.schedule.conftest import Command
from tests.pipelines.schedule.recurring_double import RecurringDouble

IMAGE = "registry.example/nofrost@sha256:" + "0" * 64
WEEKLY = ("schedule", "weekly", "--cron", "0 3 * * 1")
MONDAY = datetime(2026, 11, 9, 3, tzinfo=UTC)
CHANGES = r"(POST|DELETE) .*"


def test_a_schedule_is_made_with_everything_said_and_starts_runs(kfp: RecurringDouble, command: Command) -> None:
    made = command(*WEEKLY)
    assert (made["form"], made["why"]) == ("recurring-run", "Kubeflow's recurring runs follow UTC")
    assert len(made["next_runs"]) == 5
    assert made["changes"] == ["recurring run nofrost-schedule-weekly: to be created"]
    (recurring,) = kfp.recurring
    assert recurring["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (recurring["mode"], recurring["no_catchup"], recurring["max_concurrency"]) == ("ENABLE", True, "1")
    parameters = recurring["runtime_config"]["parameters"]
    assert parameters["store"].startswith("s3://bucket/")
    assert parameters["schedule"] == "weekly", "the run takes the lease by itself"
    assert kfp.advance(MONDAY - timedelta(seconds=1)) == []
    assert kfp.advance(MONDAY) == ["run-1"]
    assert kfp.started == [("run-1", "pipeline-runner")]


def test_applied_twice_it_changes_nothing(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    before = json.dumps(kfp.recurring), kfp.count(CHANGES)
    assert command(*WEEKLY)["changes"] == []
    assert (json.dumps(kfp.recurring), kfp.count(CHANGES)) == before
    assert len(kfp.uploads) == 1


def test_a_dry_run_prints_the_difference_and_does_nothing(kfp: RecurringDouble, command: Command) -> None:
    assert command(*WEEKLY, "--dry-run")["changes"] == ["recurring run nofrost-schedule-weekly: to be created"]
    assert kfp.count(CHANGES) == 0
    command(*WEEKLY)
    before = kfp.count(CHANGES)
    later = (*WEEKLY[:3], "30 4 * * 1", "--dry-run")
    assert command(*later)["changes"] == ["cron: 0 0 3 * * 1 -> 0 30 4 * * 1"]
    (line,) = command(*WEEKLY, "--shards", "2", "--dry-run")["changes"]
    assert "to be uploaded" in line
    assert kfp.count(CHANGES) == before


def test_a_change_replaces_it_and_there_are_never_two_that_start_runs(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    enabled: list[int] = []

    def count() -> None:
        enabled.append(sum(each["mode"] == "ENABLE" for each in kfp.recurring))

    kfp.fault(".*/recurringruns.*", *[count] * 20)
    assert command(*WEEKLY[:3], "30 4 * * 1")["changes"] == ["cron: 0 0 3 * * 1 -> 0 30 4 * * 1"]
    (recurring,) = kfp.recurring
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 30 4 * * 1"
    assert recurring["mode"] == "ENABLE"
    assert max(enabled) == 1


@pytest.mark.slow
@pytest.mark.parametrize("request_", ["POST .*/recurringruns", "DELETE .*", "POST .*:enable"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_broke_off_is_completed_by_the_next(
    kfp: RecurringDouble, command: Command, request_: str, when: str
) -> None:
    command(*WEEKLY)
    other = (*WEEKLY[:3], "30 4 * * 1")
    if when == "before":
        kfp.fault(request_, (503, {"message": "busy"}))
    else:
        kfp.lost = request_
    with pytest.raises(ApiError):
        command(*other)
    assert kfp.recurring, "a schedule is never lost"
    command(*other)
    (recurring,) = kfp.recurring
    assert (recurring["trigger"]["cron_schedule"]["cron"], recurring["mode"]) == ("0 30 4 * * 1", "ENABLE")


def test_what_somebody_edited_is_shown_and_put_right(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    assert command("status", "weekly")[0]["edited"] == []
    kfp.recurring[0]["mode"] = "DISABLE"
    kfp.recurring[0]["runtime_config"]["parameters"]["train_image"] = "other"
    (status,) = command("status", "weekly")
    image = "registry.example/nofrost-train@sha256:" + "0" * 64
    assert status["edited"] == ["enabled: true -> false", f"parameters.train_image: {image} -> other"]
    assert (status["enabled"], status["next_run"]) == (False, None)
    changes = command(*WEEKLY)["changes"]
    assert sorted(changes) == ["enabled: false -> true", f"parameters.train_image: other -> {image}"]
    (recurring,) = kfp.recurring
    assert recurring["mode"] == "ENABLE"


def test_one_that_was_switched_off_is_switched_on_and_not_replaced(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    identifier = kfp.recurring[0]["recurring_run_id"]
    kfp.recurring[0]["mode"] = "DISABLE"
    assert command(*WEEKLY)["changes"] == ["enabled: false -> true"]
    assert [(each["recurring_run_id"], each["mode"]) for each in kfp.recurring] == [(identifier, "ENABLE")]


def test_a_copy_is_deleted(kfp: RecurringDouble, command: Command) -> None:
    """As somebody makes who clones it on Kubeflow's page."""
    command(*WEEKLY)
    kfp.recurring.append({**kfp.recurring[0], "recurring_run_id": "copy", "description": "mine"})
    (status, copy) = command("status", "weekly")
    assert status["edited"] == []
    assert copy["edited"] == ["what it was made with is not noted in it any more"]
    command(*WEEKLY)
    assert len(kfp.recurring) == 1


def test_others_are_left_alone(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    foreign = {**kfp.recurring[0], "recurring_run_id": "other", "display_name": "weekly"}
    kfp.recurring[:0] = [{**foreign, "recurring_run_id": f"other-{number}"} for number in range(150)]
    assert command(*WEEKLY)["changes"] == []
    assert [each["name"] for each in command("status")] == ["weekly"]
    command("unschedule", "weekly")
    assert len(kfp.recurring) == 150


def test_only_one_run_at_a_time_and_no_backlog(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    assert kfp.advance(MONDAY) == ["run-1"]
    kfp.states["run-1"] = "RUNNING"
    assert kfp.advance(MONDAY + timedelta(days=7)) == []
    (status,) = command("status")
    assert (status["last_run"], status["state"]) == ("run-1", "RUNNING")
    kfp.states["run-1"] = "FAILED"
    assert kfp.advance(MONDAY + timedelta(days=28)) == ["run-2"], "three times were missed"


def test_beside_a_run_of_it_none_is_submitted(kfp: RecurringDouble, command: Command, moto: str) -> None:
    command(*WEEKLY)
    kfp.advance(MONDAY)
    kfp.states["run-1"] = "RUNNING"
    fields = dict.fromkeys(("namespace", "token_file", "ca_cert", "service_account", "pipeline_root", "timeout"))
    request = SubmitRequest(load_study("digits", ['runs.recipe=["st"]']), moto, IMAGE, IMAGE)

    def submit() -> None:
        submit_study(request, host=kfp.url, experiment="nofrost", run_name="weekly", wait_for=False, **fields)

    with pytest.raises(RunGoesOnError, match=r"weekly has a scheduled run run-1"):
        submit()
    kfp.states["run-1"] = "SUCCEEDED"
    submit()
    assert len(kfp.runs) == 2


def test_the_service_account_is_honoured_or_refused(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY, "--service-account", "nofrost")
    kfp.advance(MONDAY)
    assert kfp.started == [("run-1", "nofrost")]
    assert len(command(*WEEKLY)["changes"]) == 1, "without it, it is another schedule"
    kfp.version = "2.16.1"
    before = kfp.count(CHANGES)
    with pytest.raises(UserError, match=r"KFP 2\.16\.1 drops the service account of a recurring run.*--form cronjob"):
        command(*WEEKLY, "--service-account", "nofrost")
    assert kfp.count(CHANGES) == before


def test_an_account_that_is_not_allowed_is_one_sentence(kfp: RecurringDouble, command: Command) -> None:
    kfp.allowed_accounts = {"pipeline-runner"}
    with pytest.raises(ApiError, match=r"its service account is not allowed: .*ALLOWEDSERVICEACCOUNTS.* the verb use"):
        command(*WEEKLY, "--service-account", "nofrost")
    assert kfp.recurring == []


def test_an_old_server_for_several_users_is_refused(kfp: RecurringDouble, command: Command) -> None:
    kfp.version, kfp.multi_user = "2.16.1", True
    with pytest.raises(UserError, match=r"starts no recurring run in an installation for several users"):
        command(*WEEKLY)


@pytest.mark.parametrize(
    ("request_", "answer", "message"),
    [
        ("GET .*/healthz", (502, "bad"), r"failed to report its health \(502\)"),
        ("GET .*/recurringruns", (500, {"message": "no database"}), r"failed to list the recurring runs .*no database"),
        ("POST .*/recurringruns", (403, {"message": "no"}), r"denies access \(403\) .* create the recurring run"),
        ("POST .*/recurringruns", (400, {"message": "bad cron"}), r"refused to create the recurring run .*bad cron"),
        ("POST .*/recurringruns", "drop", "cannot be reached"),
    ],
)
def test_an_error_of_the_api_is_one_sentence(
    kfp: RecurringDouble, command: Command, request_: str, answer: Any, message: str
) -> None:
    kfp.fault(request_, *[answer] * 3)
    with pytest.raises(UserError, match=message) as raised:
        command(*WEEKLY)
    assert "\n" not in str(raised.value)
    assert not [each for each in kfp.recurring if each["mode"] == "ENABLE"]


def test_of_two_changes_at_once_one_is_refused(kfp: RecurringDouble, command: Command, moto: str) -> None:
    command(*WEEKLY)
    ends: list[Any] = []
    start = threading.Barrier(4)

    def change(minute: int) -> None:
        request = SubmitRequest(load_study("digits", ['runs.recipe=["st"]']), moto, IMAGE, IMAGE)
        when = read_times("weekly", f"{minute} 3 * * 1", "UTC", None)
        options = {"experiment": "nofrost", "service_account": None, "pipeline_root": None}
        start.wait()
        try:
            ends.append(schedule_study(request, when, endpoint=Endpoint(kfp.url), cluster_host="", dry_run=False,
                                       **options))  # fmt: skip
        except LeaseError as error:
            ends.append(error)

    threads = [threading.Thread(target=change, args=(minute,)) for minute in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ends) == 4
    assert any(isinstance(end, list) for end in ends)
    assert [each["mode"] for each in kfp.recurring] == ["ENABLE"]


def test_while_somebody_else_changes_it_nothing_is_changed(kfp: RecurringDouble, command: Command, moto: str) -> None:
    lease = acquire_lease(open_store(moto), "schedule.weekly", "somebody", 60)
    with pytest.raises(LeaseError, match=r"schedule\.weekly is held by somebody until"):
        command(*WEEKLY)
    assert kfp.recurring == []
    lease.release()
    command(*WEEKLY)
    with pytest.raises(UserError, match="there is no schedule weeky: did you mean 'weekly'"):
        command("unschedule", "weeky")


def test_unschedule_deletes_it_and_says_what_is_not_there(kfp: RecurringDouble, command: Command) -> None:
    command(*WEEKLY)
    (line,) = command("unschedule", "weekly")
    assert line.startswith("recurring run ")
    assert kfp.recurring == []
    with pytest.raises(UserError, match="there is no schedule weekly: there are none"):
        command("unschedule", "weekly")
    with pytest.raises(UserError, match="there is no schedule weekly: there are none"):
        command("status", "weekly")
    assert command("status") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Weekly",), "'Weekly' cannot name a schedule"),
        (("a" * 36,), "up to 35 characters"),
        (("weekly", "--time-zone", "Europe/Berlin", "--form", "recurring-run"), "follows UTC, and not the clock of"),
        (("weekly", "--data-ref", "latest:photos"), "has no data named photos: release some with"),
        (("weekly", "--data-ref", "photos"), "photos"),
    ],
)
def test_wrong_usage_is_one_sentence_before_anything_is_sent(
    kfp: RecurringDouble, command: Command, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises((UserError, RunFailedError), match=message):
        command("schedule", words[0], "--cron", "0 3 * * 1", *words[1:])
    assert kfp.count(CHANGES) == 0


def test_a_study_that_one_run_cannot_hold_is_refused(
    kfp: RecurringDouble, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.workflow_size.ARGUMENT_LIMIT", 1000)
    kfp.version = "2.16.0"
    with pytest.raises(UserError, match="do not fit into one run of the pipeline, which is what a schedule starts"):
        command(*WEEKLY)
    assert kfp.count(CHANGES) == 0
