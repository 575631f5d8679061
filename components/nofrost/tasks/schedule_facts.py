"""What Prometheus gets to know of a schedule, so that an alert can tell when a run is overdue."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from nofrost.tasks.due_times import due_times, longest_interval_s
from nofrost.telemetry.metrics import push_facts, table
from nofrost.telemetry.metrics.gateway import VARIABLE as GATEWAY_VARIABLE


def push_schedule_facts(study: str, schedule: str, cron: str, zone: str, *, submitted: bool) -> bool:
    """Push when a schedule is due next and how long its longest pause is; return whether a gateway has that.

    Args:
        cron: its five fields.
        submitted: whether it has just started a run.
    """
    # Its times take a while to find.
    if not os.environ.get(GATEWAY_VARIABLE):
        return False
    now = datetime.now(UTC)
    clock = ZoneInfo(zone)
    facts = [
        table.SCHEDULE_NEXT_RUN.fact(next(due_times(cron, clock, now)).timestamp(), schedule=schedule),
        table.SCHEDULE_INTERVAL.fact(longest_interval_s(cron, clock, now), schedule=schedule),
    ]
    if submitted:
        facts.append(table.SCHEDULE_SUBMISSION.fact(now.timestamp(), schedule=schedule))
    # A push takes the place of the task's last one, and two schedules of a study are two tasks.
    return push_facts(facts, study=study, task=f"schedule-{schedule}")
