"""What is pushed of a schedule: its next time, its longest pause, and when it started a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("cronsim")

from nofrost.tasks import schedule_facts
from nofrost.tasks.due_times import longest_interval_s

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "pause"),
    [
        ("0 3 * * 1", "UTC", timedelta(days=7)),
        ("0 3 * * 1", "Europe/Berlin", timedelta(days=7, hours=1)),
        ("30 2 * * 0", "Europe/Berlin", timedelta(days=14) - timedelta(hours=1)),
        ("*/5 9-16 * * 1-5", "UTC", timedelta(days=2, hours=16, minutes=5)),
        ("0 0 29 2 *", "UTC", timedelta(days=4 * 365 + 1)),
    ],
)
def test_the_longest_pause(cron: str, zone: str, pause: timedelta) -> None:
    assert longest_interval_s(cron, ZoneInfo(zone), NOW) == pause.total_seconds()


def test_without_a_gateway_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOFROST_PUSHGATEWAY", raising=False)
    monkeypatch.setattr(schedule_facts, "due_times", None)
    assert not schedule_facts.push_schedule_facts("digits", "weekly", "0 3 * * 1", "UTC", submitted=True)


@pytest.mark.parametrize("submitted", [False, True])
def test_the_facts(monkeypatch: pytest.MonkeyPatch, submitted: bool) -> None:
    pushed: dict[str, Any] = {}

    def push(facts: Any, **key: str) -> bool:
        pushed.update(key, facts={fact.metric.name: fact for fact in facts})
        return True

    monkeypatch.setattr(schedule_facts, "push_facts", push)
    monkeypatch.setenv("NOFROST_PUSHGATEWAY", "http://127.0.0.1:9")
    began = datetime.now(UTC).timestamp()
    schedule_facts.push_schedule_facts("digits", "weekly", "0 3 * * 1", "Europe/Berlin", submitted=submitted)
    assert (pushed["study"], pushed["task"]) == ("digits", "schedule-weekly")
    facts = pushed["facts"]
    assert {fact.labels for fact in facts.values()} == {("weekly",)}
    assert facts["nofrost_schedule_interval_seconds"].value >= 7 * 86400
    assert began < facts["nofrost_schedule_next_run_timestamp_seconds"].value <= began + 7 * 86400 + 3600
    assert ("nofrost_schedule_submission_timestamp_seconds" in facts) == submitted
