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
    from obstore import PutMode, UpdateVersion

# What servers answer to a condition that they do not have.
_NOT_THERE = frozenset(("NotImplemented", "501", "InvalidArgument", "400", "InvalidRequest"))


class Conditions(NamedTuple):
    """Which conditions a server obeys.

    Attributes:
        create: ``If-None-Match: *``, by which only one of several writers creates an object.
        swap: ``If-Match``, by which nobody replaces an object that has changed since it was read.
    """

    create: bool
    swap: bool


def probe(client: Client, key: str) -> Conditions:
    """Try both conditions on an object that does not exist yet, and delete it.

    Raises:
        BaseError: the server cannot be reached or denies access.
    """
    try:
        create = _is_written(client, key, b"1", "create") and not _is_written(client, key, b"2", "create")
        stale, fresh = _written(client, key, b"3"), _written(client, key, b"4")
        swap = not _is_written(client, key, b"5", stale) and _is_written(client, key, b"6", fresh)
        return Conditions(create, swap)
    finally:
        with suppress(BaseError, FileNotFoundError):
            obstore.delete(client, key)


def _written(client: Client, key: str, content: bytes) -> UpdateVersion:
    """Write the object, and return the condition that it is still this one."""
    return {"e_tag": obstore.put(client, key, content, use_multipart=False)["e_tag"] or ""}


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
