"""When a schedule is due: the minutes in which the clock of its zone shows a time that its cron expression names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from heapq import heappop, heappush
from itertools import islice, pairwise

# Enough to see the nights and weekends of a schedule of minutes.
_TIMES = 3000
_YEARS = timedelta(days=9 * 366)


def due_times(cron: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """Yield when a schedule is due after a time, by the clock of its zone, each time once and in order.

    A time that the clock skips is left out, and one that it shows twice is due twice, as Kubernetes has it.

    Args:
        cron: five fields.
        after: with a zone of its own.
    """
    # Imported here: the image for training has no schedules, and not this library.
    from cronsim import CronSim

    # cronsim steps over some times where a clock changes, so it only says what a clock on the wall has to show.
    ahead: list[datetime] = []
    begin = after.astimezone(zone).replace(tzinfo=None) - timedelta(days=1)
    for shown in CronSim(cron, begin):
        first, *again = _instants(shown, zone)
        for time in (first, *again):
            # A clock never shows what it skips.
            if time > after and time.astimezone(zone).replace(tzinfo=None) == shown:
                heappush(ahead, time)
        while ahead and ahead[0] <= first:
            yield heappop(ahead).astimezone(zone)


def longest_interval_s(cron: str, zone: tzinfo, after: datetime) -> float:
    """Return the seconds of the longest pause between times of a schedule, of at most 3,000 in the next nine years."""
    longest, end = 0.0, after + _YEARS
    times = (time.astimezone(UTC) for time in islice(due_times(cron, zone, after), _TIMES))
    for earlier, later in pairwise(times):
        if longest and later > end:
            break
        longest = max(longest, (later - earlier).total_seconds())
    return longest


def _instants(shown: datetime, zone: tzinfo) -> list[datetime]:
    """Return when a clock shows a time, in UTC: once, or twice where it goes back."""
    return sorted({shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
