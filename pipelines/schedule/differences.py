"""The difference between what there is and what is to be, as lines for people and as a patch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = object()


def differences(current: Any, wanted: Any, path: str = "") -> list[str]:
    """Return a line for each value of `wanted` that `current` has otherwise: where, what it is, what it is to be.

    What `current` has beside them is the server's, and no difference; a list has to be as long.
    """
    return list(_differences(current, wanted, path))


def _differences(current: Any, wanted: Any, path: str) -> Iterator[str]:
    if isinstance(wanted, Mapping) and isinstance(current, Mapping):
        for key in wanted:
            yield from _differences(current.get(key, _ABSENT), wanted[key], f"{path}.{key}" if path else str(key))
    elif isinstance(wanted, list) and isinstance(current, list) and len(wanted) == len(current):
        for index, (old, new) in enumerate(zip(current, wanted, strict=True)):
            yield from _differences(old, new, f"{path}[{index}]")
    elif current != wanted:
        yield f"{path}: {_shown(current)} -> {_shown(wanted)}"


def merge_patch(made: Any, wanted: Any) -> Any:
    """Return the change (RFC 7386) that brings an object which was made like `made` to `wanted`.

    All of `wanted` is in it, as somebody may have edited the object, and a null for what it has no more.
    """
    if not (isinstance(made, Mapping) and isinstance(wanted, Mapping)):
        return wanted
    gone = {key: None for key in made if key not in wanted}
    return gone | {key: merge_patch(made.get(key), value) for key, value in wanted.items()}


def removed(made: Any, wanted: Any, path: str = "") -> list[str]:
    """Return a line for each key that `made` has and `wanted` has no more."""
    if not (isinstance(made, Mapping) and isinstance(wanted, Mapping)):
        return []
    lines = []
    for key, value in made.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in wanted:
            lines.append(f"{where}: {_shown(value)} -> none")
        lines += removed(value, wanted.get(key), where)
    return lines


def _shown(value: Any) -> str:
    if value is _ABSENT or value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 160 else f"{text[:157]}..."
