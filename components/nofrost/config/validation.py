"""Error messages, of one sentence, for configuration that does not fit its schema."""

import re
import types
import typing
from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nofrost.errors import UserError, closest, shortened


def sentence(
    error: ValidationError | ErrorDetails,
    schema: type[Any],
    origin: str,
    overrides: Sequence[str] = (),
    key: Sequence[str] = (),
    hidden: Collection[str] = (),
) -> str:
    """Return a message about the first error that pydantic found: the file, the key and what is allowed.

    Args:
        error: of pydantic; the first of several.
        schema: the model or dataclass that was read.
        origin: the file, or the owner of the settings.
        overrides: texts `key=value` on top of the file; the message names the one at fault.
        key: location of that part in the file.
        hidden: fields of a dataclass that do not belong there in the file.
    """
    first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else error
    keys = tuple(name for name in first["loc"] if name != "[key]")
    location = ".".join(str(name)[:100] for name in (*key, *keys))
    origin = with_override(origin, location, overrides)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        allowed = [name for name in _fields_at(keys[:-1], schema) if name not in hidden]
        what = "key" if key or not is_dataclass(schema) else "setting"
        return f"{origin}: unknown {what} {location!r}: {_hint(str(keys[-1]), allowed)}"
    if first["type"] == "missing":
        return f"{origin}: key {location} is missing: add it"
    where = f"{origin}: {location}: " if location else f"{origin}: "
    if first["type"] == "model_type":
        return (
            f"{where}{shortened(first['input'])} is not a mapping: its keys are {', '.join(_fields_at(keys, schema))}"
        )
    if first["type"] == "value_error":
        return where + first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], bool) and first["type"] in ("int_type", "float_type"):
        return where + not_a_number(first["input"])
    # YAML has lists and no tuples.
    fault = re.sub(r"(?i)\btuple\b", "list", f"{first['msg'][:1].lower()}{first['msg'][1:]}")
    fault += f", got {shortened(first['input'])}"
    if first["type"] == "string_type" and isinstance(first["input"], bool | int | float):
        fault += ": write it in quotes"
    if first["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(first["ctx"]["expected"]))
        hint = closest(first["input"], allowed).rstrip()
        fault += f": {hint}" if hint else ""
    return where + fault


def error_of_file(error: ValidationError, schema: type[BaseModel], origin: str) -> str | None:
    """Return a message about the first unknown key or value of the wrong type; None if there is no such error.

    These are errors of the file itself. A missing key, or a value that conflicts with another, may still be fixed by a
    file that has this one as its base.
    """
    for fault in error.errors(include_url=False):
        if fault["type"] not in ("missing", "value_error"):
            return sentence(fault, schema, origin)
    return None


def check_key(names: Sequence[str], schema: type[BaseModel], where: str) -> None:
    """Check that a dotted key, given as its `names`, is one of the schema, as far as the schema knows its keys.

    Raises:
        UserError: it is not; the message begins with `where`.
    """
    current: Any = schema
    for depth, name in enumerate(names):
        if _is_model(current) and name not in current.model_fields:
            if current.model_config.get("extra") == "allow":
                return
            raise UserError(
                f"{where}: unknown key {'.'.join(names)!r}: {_hint(name, _fields_at(names[:depth], schema))}"
            )
        if not _is_model(current) and typing.get_origin(current) is not dict:
            raise UserError(f"{where}: unknown key {'.'.join(names)!r}: {'.'.join(names[:depth])} has no keys")
        current = _without_none(_annotation_of(current, name))


def not_a_number(value: bool) -> str:
    """Return the message about a truth value where a number belongs."""
    return f"{str(value).lower()} is not a number: write one, such as 1"


def with_override(origin: str, location: str, overrides: Sequence[str]) -> str:
    """Return `origin` with the last override of the key `location`, or of a key above or below it."""
    for text in reversed(overrides):
        changed = text.partition("=")[0].strip()
        if location and (f"{location}.".startswith(f"{changed}.") or changed.startswith(f"{location}.")):
            return f"{origin} with --set {shortened(text)}"
    return origin


def _hint(key: str, allowed: Collection[str]) -> str:
    return f"{closest(key, allowed)}allowed here are {', '.join(allowed) or 'none'}"


def _fields_at(location: Sequence[int | str], schema: type[Any]) -> list[str]:
    current: Any = schema
    for key in location:
        current = _annotation_of(current, key)
    current = _without_none(current)
    if not _is_model(current):
        return sorted(field.name for field in fields(current)) if is_dataclass(current) else []
    # the schema does not know the settings of a class that is selected by name
    others = ["and the settings of what is named"] if current.model_config.get("extra") == "allow" else []
    return [*sorted(current.model_fields), *others]


def _annotation_of(annotation: Any, key: int | str) -> Any:
    """Return the annotation of a key or position inside a value of this annotation; None if there is none."""
    annotation = _without_none(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(str(key))
        return field.annotation if field else None
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if typing.get_origin(annotation) in (tuple, list) else None


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(member for member in typing.get_args(annotation) if member is not type(None))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
