"""A pointer in a store: a small JSON document that several processes move, each move on record.

A move first writes an immutable record, ``history/UTC-KEY.json`` beside the pointer, then replaces the pointer by
compare-and-swap. Readers follow the pointer alone: a process that is killed in between leaves the pointer where it was,
and a record that no move refers to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nofrost.errors import UserError
from nofrost.store.base import Store, SwapError

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Position:
    """Where a pointer is, or was.

    Attributes:
        record: name of the record of the move that brought it there, below the pointer's folder: what identifies the
            position, so that a text can carry it to another process.
        previous: record of the position before; None for the first.
        moved: when it was moved there, in UTC.
        value: what it points to, as JSON.
    """

    record: str
    previous: str | None
    moved: datetime
    value: Mapping[str, Any]


class History(NamedTuple):
    """The records of a pointer, the newest first.

    Attributes:
        positions: where it is now and has been before.
        unused: records of moves that did not take effect, since they were killed or another was first.
    """

    positions: list[Position]
    unused: list[Position]


class Pointer:
    """A pointer in a store.

    Args:
        store: that has it.
        name: of its object, such as "nofrost/champions/STUDY/champion.json"; its records are in the same folder.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self._folder = name.rpartition("/")[0] + "/"

    def read(self) -> Position | None:
        """Return where the pointer is; None before its first move.

        Raises:
            UserError: the store cannot be read, or what is there is no pointer.
        """
        return self._read()[0]

    def move(self, value: Mapping[str, Any], key: str, expected: str | None) -> Position:
        """Move the pointer to `value`, and return its new position.

        Args:
            value: what it then points to, as JSON.
            key: what tells the values apart in the names of records, such as an md5.
            expected: record of the position that it is moved from; None if it must not have been moved yet.

        Raises:
            SwapError: it is at another position, as another process has moved it; it stays there.
            UnavailableError: the server is busy or cannot be reached; :meth:`read` shows whether it was moved.
        """
        current, tag = self._read()
        if (current.record if current else None) != expected:
            raise SwapError(self.name, self.store.url)
        moved = datetime.now(UTC)
        position = Position(f"history/{moved.strftime(_TIME)}-{key}.json", expected, moved, dict(value))
        content = _as_object(position)
        self.store.swap(self._folder + position.record, content, None)
        self.store.swap(self.name, content, tag)
        return position

    def history(self) -> History:
        """Return all records, the newest first.

        Raises:
            UserError: the store cannot be read, or a record is damaged or missing.
        """
        # The pointer first: a record that is written later is none that the pointer has come from.
        current = self.read()
        prefix = f"{self._folder}history/"
        records = {
            name.removeprefix(self._folder): _position(self.store.get(name), name, self.store.url)
            for name in self.store.objects(prefix)
        }
        positions: list[Position] = []
        while current:
            positions.append(current)
            previous = current.previous and records.get(current.previous)
            if current.previous and (not previous or previous in positions):
                raise UserError(
                    f"{self._folder}{current.previous} in {self.store.url}, the record of an earlier move, is missing "
                    "or wrong: restore it from a backup"
                )
            current = previous or None
        taken = {position.record for position in positions}
        unused = [records[name] for name in sorted(records, reverse=True) if name not in taken]
        return History(positions, unused)

    def _read(self) -> tuple[Position | None, str | None]:
        version = self.store.version(self.name)
        if version is None:
            return None, None
        return _position(version.content, self.name, self.store.url), version.tag


def _as_object(position: Position) -> bytes:
    content = {
        "record": position.record,
        "previous": position.previous,
        "moved": position.moved.isoformat(),
        "value": position.value,
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _position(content: bytes, name: str, url: str) -> Position:
    try:
        fields = json.loads(content)
        record, previous, value = fields["record"], fields["previous"], fields["value"]
        moved = datetime.fromisoformat(fields["moved"]).astimezone(UTC)
        if not isinstance(record, str) or not isinstance(previous, str | None) or not isinstance(value, dict):
            raise TypeError
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise UserError(
            f"{name} in {url} is no position of a pointer: find out what wrote it, and restore it from its history"
        ) from None
    return Position(record, previous, moved, value)
