"""Time zones of schedules: which there are, when their clocks change, and what that does to a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from nofrost.errors import UserError, closest, shortened
from pipelines.schedule.cron import Cron

Form = Literal["recurring-run", "cronjob"]

_UTC_NAMES = frozenset(("UTC", "UCT", "Universal", "Zulu", "GMT", "GMT+0", "GMT-0", "GMT0", "Greenwich"))
# Files beside the database that name no zone, or this machine's.
_NO_ZONES = frozenset(("localtime", "posixrules", "Factory"))
# A year and what the days of changes differ by.
_AHEAD = timedelta(days=400)


@cache
def load_zone(name: str) -> ZoneInfo:
    """Return the zone of a name of the IANA database, such as "Europe/Berlin".

    Raises:
        UserError: there is no such zone, or no database on this machine.
    """
    known = available_timezones() - _NO_ZONES
    if not known:
        raise UserError("this machine has no database of time zones: run pip install tzdata")
    if name not in known:
        hint = closest(name, known)
        raise UserError(f"unknown time zone {shortened(name)}: {hint}write a name of the IANA database, such as "
                        "Europe/Berlin or UTC")  # fmt: skip
    return ZoneInfo(name)


def is_utc(zone: ZoneInfo) -> bool:
    """Whether the clock of a zone shows UTC, always."""
    return zone.key.removeprefix("Etc/") in _UTC_NAMES


def choose_form(zone: ZoneInfo) -> tuple[Form, str]:
    """Return what starts the runs of a schedule in this zone, and why.

    Kubeflow's recurring runs follow one clock in the whole installation, UTC unless the administrator changed it; a
    CronJob of Kubernetes has a zone of its own.
    """
    if is_utc(zone):
        return "recurring-run", "Kubeflow's recurring runs follow UTC"
    return "cronjob", f"Kubeflow's recurring runs follow UTC, and a CronJob of Kubernetes the clock of {zone.key}"


@dataclass(frozen=True)
class ClockChange:
    """A change of the clock of a zone.

    Attributes:
        at: when, in UTC.
        before, after: what the clock shows then, without and with the change; without a zone.
    """

    at: datetime
    before: datetime
    after: datetime


def clock_changes(zone: ZoneInfo, after: datetime) -> Iterator[ClockChange]:
    """Yield the changes of a clock in the thirteen months after a time."""
    low, end = after.astimezone(UTC), after.astimezone(UTC) + _AHEAD
    while low < end:
        high = low + timedelta(days=1)
        if _offset(zone, low) != _offset(zone, high):
            begin, last = low, high
            while last - begin > timedelta(seconds=1):
                middle = begin + (last - begin) / 2
                begin, last = (begin, middle) if _offset(zone, middle) != _offset(zone, begin) else (middle, last)
            at = last.replace(microsecond=0)
            naive = at.replace(tzinfo=None)
            yield ClockChange(at, naive + _offset(zone, low), naive + _offset(zone, high))
        low = high


def irregularities(cron: Cron, zone: ZoneInfo, after: datetime) -> list[str]:
    """Return a sentence for each change of the clock in thirteen months that leaves out or repeats runs.

    One that is due every hour, or every so many, goes on at the same pace, and nobody misses the hour that is skipped.
    """
    if not cron.names_hours:
        return []
    sentences = []
    for change in clock_changes(zone, after):
        first, last = sorted((change.before, change.after))
        times = list(cron.wall_times(first, last))
        if not times:
            continue
        shown = f"{times[0]:%Y-%m-%d %H:%M}" + (f" to {times[-1]:%H:%M}" if len(times) > 1 else "")
        if change.after > change.before:
            effect = f"does not exist in {zone.key}, where the clock goes from {first:%H:%M} to {last:%H:%M}: no run"
        else:
            effect = (
                f"comes twice in {zone.key}, where the clock goes back from {last:%H:%M} to {first:%H:%M}: two runs"
            )
        sentences.append(f"{shown} {effect}; choose a time outside of these to have one")
    return sentences


def _offset(zone: ZoneInfo, time: datetime) -> timedelta:
    offset = time.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
