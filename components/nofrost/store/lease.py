"""A lease in a store: work that one holder does at a time, on whatever machine; it ends by itself after a while.

The object ``nofrost/leases/NAME`` says who holds it and until when. It is written by compare-and-swap alone and never
deleted, so that nobody ends the lease of another.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from nofrost.errors import UserError
from nofrost.store.base import Store, SwapError, checked_word

PREFIX = "nofrost/leases/"
# Clocks of machines differ: a lease is taken from its holder so long after it has ended by the clock of who takes it.
SKEW = timedelta(seconds=60)


class LeaseError(UserError):
    """Another holder has the lease."""


@dataclass(frozen=True)
class Lease:
    """A lease as it stands in the store.

    Attributes:
        store: that has it.
        name: of the work.
        holder: who has it, in words that a person can follow, such as the id of a run.
        end: when it ends unless it is renewed, in UTC.
        token: made anew by each :func:`acquire_lease`.
        tag: of the version of the object.
    """

    store: Store
    name: str
    holder: str
    end: datetime
    token: str
    tag: str

    @property
    def is_held(self) -> bool:
        """Whether it has not ended, with allowance for clocks that differ."""
        return datetime.now(UTC) - SKEW < self.end

    def renew(self, seconds: float, holder: str | None = None) -> Lease:
        """Return the lease with its end so many seconds from now; in the name of another `holder` if one is given.

        Raises:
            LeaseError: it had ended and another has taken it.
        """
        lease = replace(self, holder=holder or self.holder, end=datetime.now(UTC) + timedelta(seconds=seconds))
        try:
            return _write(lease, self.tag)
        except SwapError:
            raise _refused(self.store, self.name, find_lease(self.store, self.name)) from None

    def release(self) -> None:
        """End the lease, unless another has taken it meanwhile."""
        try:
            _write(replace(self, end=datetime.min.replace(tzinfo=UTC)), self.tag)
        except SwapError:
            return


def acquire_lease(store: Store, name: str, holder: str, seconds: float) -> Lease:
    """Return the lease of the work `name` for so many seconds.

    Args:
        store: where all who want it ask.
        name: letters, digits, ".", "_" and "-", such as the name of a schedule.
        holder: who wants it, such as the id of a run or the name of a job. Who has it already gets it anew, as after
            a restart, so the text must not be that of another process that runs beside this one.
        seconds: how long at most; until :meth:`Lease.renew` or :meth:`Lease.release`.

    Raises:
        LeaseError: another has it; the message says who, and until when.
        UserError: `name` cannot be one, or the store refuses or cannot be reached.
    """
    current = find_lease(store, name)
    if current and current.is_held and current.holder != holder:
        raise _refused(store, name, current)
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    try:
        return _write(Lease(store, name, holder, end, uuid.uuid4().hex, ""), current.tag if current else None)
    except SwapError:
        raise _refused(store, name, find_lease(store, name)) from None


def find_lease(store: Store, name: str) -> Lease | None:
    """Return the lease of the work `name`, which may have ended; None if there never was one.

    Raises:
        UserError: `name` cannot be one, the store cannot be read, or what is there is no lease.
    """
    version = store.version(_object_name(name))
    if version is None:
        return None
    try:
        fields = json.loads(version.content)
        holder, token = fields["holder"], fields["token"]
        end = datetime.fromisoformat(fields["end"]).astimezone(UTC)
        if not isinstance(holder, str) or not isinstance(token, str):
            raise TypeError
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError(f"{_object_name(name)} in {store.url} is no lease: find out what wrote it") from None
    return Lease(store, name, holder, end, token, version.tag)


def _write(lease: Lease, expected: str | None) -> Lease:
    content = {"holder": lease.holder, "end": lease.end.isoformat(), "token": lease.token}
    tag = lease.store.swap(_object_name(lease.name), json.dumps(content).encode(), expected)
    return replace(lease, tag=tag)


def _object_name(name: str) -> str:
    return PREFIX + checked_word(name, "a lease")


def _refused(store: Store, name: str, current: Lease | None) -> LeaseError:
    by = "another process"
    if current and current.is_held:
        by = f"{current.holder} until {current.end:%Y-%m-%dT%H:%M:%SZ}"
    return LeaseError(f"{name} is held by {by} ({_object_name(name)} in {store.url}): wait for its end")
