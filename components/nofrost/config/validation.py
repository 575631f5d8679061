"""One sentence for a configuration that does not fit its schema."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 80  # characters of a wrong value that are shown


def sentence(error: ValidationError, schema: type[BaseModel], origin: str, overrides: Sequence[str] = ()) -> str:
    """Return the first fault of `error` as one sentence that names the file, the key and what is allowed.

    Args:
        error: what pydantic found.
        schema: the part of the configuration that was read.
        origin: the file.
        overrides: texts `key=value` on top of the file; the one that made the fault is named too.
    """
    return _sentence(error.errors(include_url=False)[0], schema, origin, overrides)


def fault_of_the_file(error: ValidationError, schema: type[BaseModel], origin: str) -> str | None:
    """Return the sentence for the first unknown key or value of the wrong type, None if there is no such fault.

    These are faults of the file whatever is put on top of it; a missing key, or a value that does not go with
    another, may not be.
    """
    for fault in error.errors(include_url=False):
        if fault["type"] not in ("missing", "value_error"):
            return _sentence(fault, schema, origin, ())
    return None


def _sentence(first: ErrorDetails, schema: type[BaseModel], origin: str, overrides: Sequence[str]) -> str:
    place = tuple(part for part in first["loc"] if part != "[key]")
    location = ".".join(map(str, place))
    for text in reversed(overrides):
        key = text.partition("=")[0].strip()
        if location and (f"{location}.".startswith(f"{key}.") or key.startswith(f"{location}.")):
            origin = f"{origin} with --set {_short(text)}"
            break
    if first["type"] == "extra_forbidden":
        return f"{origin}: {_unknown_key(place, schema)}"
    if first["type"] == "missing":
        return f"{origin}: key {location} is missing: add it"
    where = f"{origin}: {location}: " if location else f"{origin}: "
    if first["type"] == "model_type":
        return f"{where}{_short(first['input'])} is not a mapping: its keys are {', '.join(_fields_at(place, schema))}"
    if first["type"] == "value_error":
        return where + first["msg"].removeprefix("Value error, ")
    fault = f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {_short(first['input'])}"
    if first["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(first["ctx"]["expected"]))
        close = difflib.get_close_matches(str(first["input"]), allowed, n=1)
        fault += f": did you mean {close[0]!r}?" if close else ""
    return where + fault


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _unknown_key(location: tuple[int | str, ...], schema: type[BaseModel]) -> str:
    allowed = _fields_at(location[:-1], schema)
    key = str(location[-1])
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown key {'.'.join(map(str, location))!r}: {hint}allowed here are {', '.join(allowed)}"


def _fields_at(location: tuple[int | str, ...], schema: type[BaseModel]) -> list[str]:
    current: Any = schema
    holder: Any = schema
    for part in location:
        holder = current if _is_model(current) else holder
        current = _below(current, part)
        current = holder if current == dict[str, Any] else current  # changes to what they stand in, such as a phase's
    current = _without_none(current)
    return sorted(current.model_fields) if _is_model(current) else []


def _below(annotation: Any, part: int | str) -> Any:
    """Return the annotation of the key or position `part` inside a value of this annotation; None if there is none."""
    annotation = _without_none(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if typing.get_origin(annotation) in (tuple, list) else None


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
