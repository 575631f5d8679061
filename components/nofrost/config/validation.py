"""One sentence for a configuration that does not fit its schema."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_SHOWN = 80  # characters of a wrong value that are shown


def sentence(
    error: ValidationError,
    schema: type[Any],
    origin: str,
    overrides: Sequence[str] = (),
    key: Sequence[str] = (),
    hidden: Collection[str] = (),
) -> str:
    """Return the first fault of `error` as one sentence that names the file, the key and what is allowed.

    Args:
        error: what pydantic found.
        schema: the part of the configuration that was read: a model, or a dataclass of settings.
        origin: the file, or whose settings they are.
        overrides: texts `key=value` on top of the file; the one that made the fault is named too.
        key: where that part stands in the file.
        hidden: fields of a dataclass that the file states elsewhere.
    """
    return _sentence(error.errors(include_url=False)[0], schema, origin, overrides, key, hidden)


def fault_of_the_file(error: ValidationError, schema: type[BaseModel], origin: str) -> str | None:
    """Return the sentence for the first unknown key or value of the wrong type, None if there is no such fault.

    These are faults of the file whatever is put on top of it; a missing key, or a value that does not go with
    another, may not be.
    """
    for fault in error.errors(include_url=False):
        if fault["type"] not in ("missing", "value_error"):
            return _sentence(fault, schema, origin)
    return None


def _sentence(
    first: ErrorDetails,
    schema: type[Any],
    origin: str,
    overrides: Sequence[str] = (),
    key: Sequence[str] = (),
    hidden: Collection[str] = (),
) -> str:
    inside = tuple(part for part in first["loc"] if part != "[key]")
    location = ".".join(map(str, (*key, *inside)))
    origin = with_override(origin, location, overrides)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = [name for name in _fields_at(inside[:-1], schema) if name not in hidden]
        what = "key" if key or not is_dataclass(schema) else "setting"
        return f"{origin}: unknown {what} {location!r}: {_hint(str(inside[-1]), allowed)}"
    if first["type"] == "missing":
        return f"{origin}: key {location} is missing: add it"
    where = f"{origin}: {location}: " if location else f"{origin}: "
    if first["type"] == "model_type":
        return f"{where}{_short(first['input'])} is not a mapping: its keys are {', '.join(_fields_at(inside, schema))}"
    if first["type"] == "value_error":
        return where + first["msg"].removeprefix("Value error, ")
    fault = f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {_short(first['input'])}"
    if first["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(first["ctx"]["expected"]))
        close = difflib.get_close_matches(str(first["input"]), allowed, n=1)
        fault += f": did you mean {close[0]!r}?" if close else ""
    return where + fault


def with_override(origin: str, location: str, overrides: Sequence[str]) -> str:
    """Return `origin` with the last override that set the key `location`, something above it or something inside it."""
    for text in reversed(overrides):
        changed = text.partition("=")[0].strip()
        if location and (f"{location}.".startswith(f"{changed}.") or changed.startswith(f"{location}.")):
            return f"{origin} with --set {_short(text)}"
    return origin


def _hint(key: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(key, allowed, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}allowed here are {', '.join(allowed) or 'none'}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _fields_at(location: tuple[int | str, ...], schema: type[Any]) -> list[str]:
    current: Any = schema
    for part in location:
        current = _below(current, part)
    current = _without_none(current)
    if not _is_model(current):
        return sorted(field.name for field in fields(current)) if is_dataclass(current) else []
    # settings of something that is named are known to that alone
    others = ["and the settings of what is named"] if current.model_config.get("extra") == "allow" else []
    return [*sorted(current.model_fields), *others]


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
