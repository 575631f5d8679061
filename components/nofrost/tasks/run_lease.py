"""The lease of the runs of one name: a schedule starts none beside one that was submitted by hand, nor the reverse.

The lease ends with the record of the run that holds it, which `finish` writes. Without one it ends when a schedule sees
in Kubeflow that the run has ended, and a week after its start at the latest.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nofrost.store import Lease, LeaseError, Store, acquire_lease, find_lease
from nofrost.tasks.run_record import read_record

# While a run is being started; if that is killed, the next one is started after this time.
STARTING_S = 600.0
RUNNING_S = 7 * 24 * 3600.0
_HOLDER = re.compile(r"(?P<origin>scheduled|submitted) run (?P<run>\S+)")


class RunGoesOnError(LeaseError):
    """A run of the name goes on.

    Attributes:
        run_id: its id; "" while it is being started.
        scheduled: whether a schedule has started it.
    """

    def __init__(self, message: str, run_id: str, *, scheduled: bool) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.scheduled = scheduled


def take_run_lease(store: Store, name: str, starter: str, *, scheduled: bool, ended: Collection[str] = ()) -> Lease:
    """Return the lease for a run that is to be started, which :func:`give_to_run` passes on to it.

    Args:
        name: of the runs, such as that of a schedule.
        starter: who starts it; the same one gets it again, as after a restart.
        scheduled: whether that is a schedule.
        ended: ids of runs that Kubeflow knows to have ended, which may have left no record.

    Raises:
        RunGoesOnError: a run of the name goes on.
        UserError: the name cannot be that of a lease, or the store cannot be reached.
    """
    holder = f"{_origin(scheduled)} run, by {starter}"
    current = find_lease(store, name)
    try:
        if current is None or not current.is_held or current.holder == holder:
            return acquire_lease(store, name, holder, STARTING_S)
        run = _HOLDER.fullmatch(current.holder)
        if run is not None and (run["run"] in ended or read_record(run["run"], store) is not None):
            return current.renew(STARTING_S, holder)
    except LeaseError:
        # Another was first, and has it now.
        return take_run_lease(store, name, starter, scheduled=scheduled, ended=ended)
    is_scheduled = current.holder.startswith(_origin(True))
    ends = f"until {current.end:%Y-%m-%d %H:%M} in UTC, or until it ends"
    raise RunGoesOnError(
        f"{name} has a {current.holder} ({ends}): wait for its end, or give another name with --run-name",
        run["run"] if run else "",
        scheduled=is_scheduled,
    )


def give_to_run(lease: Lease, run_id: str, *, scheduled: bool) -> Lease:
    """Return the lease in the name of the run that was started."""
    return lease.renew(RUNNING_S, f"{_origin(scheduled)} run {run_id}")


def take_lease_of_schedule(store: Store, name: str, run_id: str) -> Lease:
    """Return the lease for a run that Kubeflow's recurring run of a schedule has started, at its begin.

    One that another run of the schedule holds is taken over: Kubeflow starts no run of a recurring run beside another,
    so that one has ended, without a record if it was killed.

    Raises:
        RunGoesOnError: a run goes on that was submitted under the name of the schedule.
        UserError: the name cannot be that of a lease, or the store cannot be reached.
    """
    current = find_lease(store, name)
    run = _HOLDER.fullmatch(current.holder) if current else None
    ended = {run["run"]} if run and run["origin"] == _origin(True) else ()
    lease = take_run_lease(store, name, f"Kubeflow as {run_id}", scheduled=True, ended=ended)
    return give_to_run(lease, run_id, scheduled=True)


def _origin(scheduled: bool) -> str:
    return "scheduled" if scheduled else "submitted"
