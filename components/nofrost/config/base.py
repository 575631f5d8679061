"""What every part of the configuration shares: unknown keys are errors, values do not change after reading."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)


class Schema(BaseModel):
    """A part of the configuration. Reading one with an unknown key, or a value of the wrong type, is an error.

    Numbers are finite, and true or false is no number: YAML reads ``on`` and ``yes`` as true, which would count as 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and _is_number(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"{str(value).lower()} is not a number: write one, such as 1")
        return value

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values, with fractions as they were written."""
        return self.model_dump(mode="json")


class Sparse(Schema):
    """A part whose keys are left out of its JSON form where they are null or empty by default."""

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if value not in (None, [], {}) or getattr(self, name) != fields[name].get_default(call_default_factory=True)
        }


def _is_number(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(map(_is_number, typing.get_args(annotation)))
    return annotation in (int, float)


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"{name!r} cannot be a name: use letters, digits, - and _, such as sat-2")
    return name


# What a name may be that becomes a folder, a graph node, or a part of a dotted key of `--set`.
Name = Annotated[str, AfterValidator(_names_a_folder)]


def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `values` on top: mappings key by key, everything else replaced.

    A mapping inside that bears another ``name`` than the one below, such as another objective, replaces it: settings of
    the one mean nothing to the other.
    """
    merged = dict(base)
    for key, value in values.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping) and not _named_otherwise(below, value):
            value = merge(below, value)
        merged[key] = value
    return merged


def _named_otherwise(below: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return "name" in below and "name" in value and below["name"] != value["name"]
