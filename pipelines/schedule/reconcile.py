"""Bring about a schedule: what there is, is compared with what is to be, and only the difference is changed."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from nofrost.errors import UserError, closest
from nofrost.store import Store, acquire_lease
from pipelines.schedule.definition import FoundSchedule, Schedule

# No change of a schedule takes longer; that of a killed process is waited for.
_LEASE_S = 120.0


class Triggers(Protocol):
    """What can start the runs of schedules: recurring runs, or CronJobs.

    Attributes:
        kind: in words.
    """

    kind: str

    def find(self, name: str | None = None) -> list[FoundSchedule]:
        """Return those of a schedule, or of all schedules."""

    def difference(self, schedule: Schedule, found: list[FoundSchedule]) -> list[str]:
        """Return a line for each difference between what there is and the schedule."""

    def apply(self, schedule: Schedule, found: list[FoundSchedule]) -> None:
        """Bring about the schedule, where `found` is what there is of it."""

    def delete(self, found: FoundSchedule) -> None:
        """Delete one."""


def reconcile(
    schedule: Schedule, triggers: Triggers, others: Sequence[Triggers], store: Store, *, dry_run: bool
) -> list[str]:
    """Bring about a schedule and return what was changed, a line each: none where nothing is otherwise.

    Args:
        triggers: what is to start its runs.
        others: what must not do so beside it, as the schedule may have been made for another zone before.
        store: in which a lease keeps two changes of the schedule from happening at once.
        dry_run: change nothing, and return what would be.

    Raises:
        LeaseError: somebody else changes the schedule at this moment.
        UserError: the store or an API refuses.
    """
    if dry_run:
        return _changes(schedule, triggers, others)
    with _changing(schedule.name, store):
        lines = _changes(schedule, triggers, others)
        found = triggers.find(schedule.name)
        if triggers.difference(schedule, found):
            triggers.apply(schedule, found)
        # Afterwards: a process that is killed in between leaves both rather than none.
        for other in others:
            for each in other.find(schedule.name):
                other.delete(each)
        return lines


def remove(name: str, all_triggers: Sequence[Triggers], store: Store) -> list[str]:
    """Delete a schedule and return a line for each thing that was deleted.

    Raises:
        LeaseError: somebody else changes the schedule at this moment.
        UserError: there is no such schedule, or the store or an API refuses.
    """
    with _changing(name, store):
        lines = []
        for triggers in all_triggers:
            for found in triggers.find(name):
                triggers.delete(found)
                lines.append(f"{triggers.kind} {found.id}: deleted")
    if not lines:
        names = sorted({found.name for triggers in all_triggers for found in triggers.find()})
        raise UserError(f"there is no schedule {name}: {closest(name, names)}there are {', '.join(names) or 'none'}")
    return lines


def _changes(schedule: Schedule, triggers: Triggers, others: Sequence[Triggers]) -> list[str]:
    lines = triggers.difference(schedule, triggers.find(schedule.name))
    for other in others:
        lines += [f"{other.kind} {schedule.full_name}: to be deleted" for _ in other.find(schedule.name)]
    return lines


@contextmanager
def _changing(name: str, store: Store) -> Iterator[None]:
    who = "somebody"
    with suppress(OSError, KeyError):
        who = getpass.getuser()
    # The dot sets it apart from the leases of runs, which are called like schedules.
    lease = acquire_lease(
        store, f"schedule.{name}", f"{who} on {socket.gethostname()}, process {os.getpid()}", _LEASE_S
    )
    try:
        yield
    finally:
        lease.release()
