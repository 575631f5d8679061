"""Conditional writes: whether a server refuses a write whose condition no longer holds.

Servers that do not know the condition of a request ignore it, so only trying it shows whether they obey.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import S3Store as Client

from nofrost.store.s3_errors import code_of

if TYPE_CHECKING:
    from obstore import PutMode

# What servers answer to a condition that they do not have.
_NOT_THERE = frozenset(("NotImplemented", "501", "InvalidArgument", "400", "InvalidRequest"))


class Conditions(NamedTuple):
    """Which conditions a server obeys.

    Attributes:
        create: ``If-None-Match: *``, by which only one of several writers creates an object.
        swap: ``If-Match``, by which nobody replaces an object that has changed since it was read.
        quotes: whether it takes an ETag in its quotes, as HTTP has it; Ceph's gateway 16 compares what is in between.
    """

    create: bool
    swap: bool
    quotes: bool = True

    @property
    def are_obeyed(self) -> bool:
        """Whether the server obeys both."""
        return self.create and self.swap

    def mode(self, expected: str | None) -> PutMode:
        """Return the condition that an object has the ETag `expected`; that there is none if it is None."""
        return "create" if expected is None else {"e_tag": expected if self.quotes else expected.strip('"')}


def probe(client: Client, key: str) -> Conditions:
    """Try both conditions on an object that does not exist yet, and delete it.

    Raises:
        BaseError: the server cannot be reached or denies access.
    """
    try:
        create = _is_written(client, key, b"1", "create") and not _is_written(client, key, b"2", "create")
        stale, fresh = (obstore.put(client, key, text, use_multipart=False)["e_tag"] or "" for text in (b"3", b"4"))
        for quotes in (True, False):
            conditions = Conditions(create, True, quotes)
            is_refused = not _is_written(client, key, b"5", conditions.mode(stale))
            if is_refused and _is_written(client, key, b"6", conditions.mode(fresh)):
                return conditions
        return Conditions(create, False)
    finally:
        with suppress(BaseError, FileNotFoundError):
            obstore.delete(client, key)


def _is_written(client: Client, key: str, content: bytes, mode: PutMode) -> bool:
    """Return whether the server writes the object; not if the condition does not hold, or is not known there."""
    try:
        obstore.put(client, key, content, mode=mode, use_multipart=False)
    except (AlreadyExistsError, PreconditionError, NotSupportedError):
        return False
    except BaseError as error:
        if code_of(error) not in _NOT_THERE:
            raise
        return False
    return True
