"""Base classes of the configuration (strict, immutable schemas), and the merging of nested mappings."""

import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from nofrost.config.fraction import PixelFraction
from nofrost.config.validation import not_a_number
from nofrost.errors import closest, shortened

T = TypeVar("T")

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""


Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""A seed: what torch and numpy take."""

ImageCount = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
"""A number of images; of those that there are, so that it takes no memory."""


MOST = 10_000_000  # of any other number of a setting
_TRUTH_VALUES = {**dict.fromkeys(("yes", "on"), True), **dict.fromkeys(("no", "off"), False)}


class Schema(BaseModel):
    """A part of the configuration or of a result. Unknown keys and values of the wrong type are errors.

    Numbers are finite, and true and false are not numbers, although Python counts them as 1 and 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_are_not_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        for each in _leaves(value) if _is_numeric(cls.model_fields[str(info.field_name)].annotation) else ():
            if isinstance(each, bool):
                raise ValueError(not_a_number(each))
        return value

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values, with fractions as they were written."""
        return self.model_dump(mode="json")


class Settings(Schema):
    """A part of the configuration: numbers without an upper limit of their own have the size of settings."""

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_of_a_usable_size(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        return value if _has_limit(field.annotation, field.metadata) else usable(value)


def usable(value: Any) -> Any:
    """Return the value of a setting that has no upper limit of its own.

    Raises:
        ValueError: it is, or contains in a list, a number that is too large for a setting.
    """
    for each in _leaves(value):
        if isinstance(each, int | float) and MOST < abs(each) < float("inf"):
            raise ValueError(f"{shortened(each)} is too large: write at most {MOST:,}")
    return value


def first_duplicate(values: Iterable[T]) -> T | None:
    """Return the first value that came before; None if there is none."""
    before: set[T] = set()
    for value in values:
        if value in before:
            return value
        before.add(value)
    return None


def truth_value(value: Any) -> Any:
    """Return true or false for the words that YAML 1.1 has for them (yes, no, on, off), and other values unchanged."""
    return _TRUTH_VALUES.get(value.lower(), value) if isinstance(value, str) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


class Cited(Settings):
    """A recipe or a suite: its `citation` says where it comes from."""

    @model_validator(mode="before")
    @classmethod
    def _source_is_the_citation(cls, values: Any) -> Any:
        # The name of the key until `source` came to mean that of a dataset alone: files of users still have it. A base
        # of ours has a citation, so a source beside it is the user's.
        if isinstance(values, Mapping) and "source" in values:
            return {key: value for key, value in values.items() if key != "source"} | {"citation": values["source"]}
        return values


class NamedSettings(Settings):
    """The name of a registered class, such as an attack, and settings for it. The class declares which settings exist.

    `Registry.check` (nofrost/registry.py) checks them. A setting of null is dropped, so that the default of the class
    applies. Lists become tuples, and fractions of the pixel range become the text in which they were written.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _normalise_settings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {key: _plain(value) for key, value in values.items() if value is not None or key in cls.model_fields}

    def settings(self) -> dict[str, Any]:
        """Return the settings that are set, as keyword arguments of the class."""
        return dict(self.model_extra or {})

    def with_settings(self, **settings: Any) -> Self:
        """Return a copy with these settings changed or added; None removes one."""
        return type(self).model_validate({"name": self.name, **self.settings(), **settings})

    def setting(self, name: str) -> Any:
        """Return the setting of this name, None if it is not set."""
        return (self.model_extra or {}).get(name)


def _plain(value: Any) -> Any:
    if isinstance(value, PixelFraction | Fraction):
        return str(value)
    # A number such as 1e-3, which has no dot, is text to YAML 1.1, by which a study may have been written.
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+[eE][+-]?[0-9]+", value):
        return float(value)
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def named_settings(config: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], NamedSettings]]:
    """Yield every `NamedSettings` inside a configuration with the keys that lead to it."""
    if isinstance(config, NamedSettings):
        yield key, config
    elif isinstance(config, Schema | Mapping):
        # iterating over a pydantic model yields pairs of key and value
        for name, value in config.items() if isinstance(config, Mapping) else config:
            yield from named_settings(value, (*key, str(name)))


class LaterKeys(Schema):
    """A schema that got some keys later: its JSON form omits those that have their default, which null stands for.

    Files without them keep the form, and the checksum, that they had before there were these keys.
    """

    later_keys: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if value is not None or key not in cls.later_keys}

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key not in self.later_keys or self._is_set(key)}

    def _is_set(self, key: str) -> bool:
        value: Any = getattr(self, key)
        return bool(value != type(self).model_fields[key].get_default(call_default_factory=True))


def without_unset(values: Mapping[str, Any], later: Iterable[str]) -> dict[str, Any]:
    """Return the values of a schema in JSON form without those of `later` keys that are null, false or empty."""
    later = set(later)
    return {key: value for key, value in values.items() if key not in later or not _is_unset(value)}


def _is_unset(value: Any) -> bool:
    # not by equality: 0 == False, and a number of 0 is set
    return value is None or value is False or (isinstance(value, list | tuple | dict) and not value)


class OmitEmpty(LaterKeys):
    """A schema whose JSON form omits keys that are null or empty, if that is their default."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {
            key: value
            for key, value in handler(self).items()
            if (key not in self.later_keys and value not in (None, [], {})) or self._is_set(key)
        }


def _is_numeric(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, Annotated):
        return any(map(_is_numeric, typing.get_args(annotation)))
    return annotation in (int, float)


def _has_limit(annotation: Any, metadata: Iterable[Any] = ()) -> bool:
    """Return whether the type of a field, or of what it contains, says how large a number may be."""
    if any(getattr(each, "le", None) is not None for each in metadata):
        return True
    if typing.get_origin(annotation) is Annotated:
        metadata = (each for field in annotation.__metadata__ for each in getattr(field, "metadata", ()))
        return _has_limit(annotation.__origin__, metadata)
    return any(map(_has_limit, typing.get_args(annotation)))


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{,99}", name):
        rule = "use at most 100 letters, digits, - and _, such as sat-2"
        raise ValueError(f"{shortened(name)} cannot be a name: {rule}")
    return name


# A name that can be a folder, a graph node and a part of a dotted key of `--set`.
Name = Annotated[str, AfterValidator(_names_a_folder)]


class _LeftOut(Enum):
    LEFT_OUT = "null"

    def __repr__(self) -> str:
        return self.value


# Of an enumeration there is one, which stays the same one where values are copied.
LEFT_OUT: Any = _LeftOut.LEFT_OUT
"""What :func:`merge` puts where null takes away a test set, dataset or suite of the base; a null that takes nothing
away stays null."""


def without_those_left_out(kind: str) -> BeforeValidator:
    """Return what takes the entries that are :data:`LEFT_OUT` out of a mapping of names to entries of this kind.

    It raises ValueError for a null, which takes nothing away, with the nearest name.
    """

    def without(entries: Any) -> Any:
        if not isinstance(entries, Mapping):
            return entries
        for name, entry in entries.items():
            if entry is None:
                known = sorted(other for other, entry in entries.items() if isinstance(entry, Mapping))
                raise ValueError(
                    f"null leaves out a {kind} that the base has, and it has no {shortened(str(name))}: "
                    f"{closest(name, known)}known are {', '.join(known) or 'none'}"
                )
        return {name: entry for name, entry in entries.items() if entry is not LEFT_OUT}

    return BeforeValidator(without)


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value inside of nested mappings with its dotted key; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted keys as nested mappings."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        for name in reversed(key.split(".")):
            value = {name: value}
        found = merge(found, value)
    return found


def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `values` on top: mappings key by key, everything else replaced.

    A nested mapping with another ``name`` than the one in `base`, such as another objective, replaces it, as the
    settings of one do not apply to the other.
    """
    merged = dict(base)
    for key, value in values.items():
        base_value = merged.get(key)
        if isinstance(base_value, Mapping) and isinstance(value, Mapping) and not _names_differ(base_value, value):
            if key in ("test_sets", "datasets"):
                value = _with_those_left_out(base_value, value)
            elif key == "suites":
                value = {kind: _with_those_left_out(base_value.get(kind), each) for kind, each in value.items()}
            value = merge(base_value, value)
        merged[key] = value
    return merged


def _with_those_left_out(base: Any, values: Any) -> Any:
    """Return entries by name with those that are null, and that `base` has, as :data:`LEFT_OUT`."""
    if not isinstance(base, Mapping) or not isinstance(values, Mapping):
        return values
    return {
        name: LEFT_OUT if value is None and isinstance(base.get(name), Mapping | str) else value
        for name, value in values.items()
    }


def difference(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes with which ``merge(base, changes)`` is `values`, both JSON forms of one schema.

    A key of `base` that `values` omits, as `OmitEmpty` does, becomes null or an empty list.
    """
    changes: dict[str, Any] = {key: [] if isinstance(base[key], list) else None for key in base if key not in values}
    for key, value in values.items():
        base_value = base.get(key)
        if isinstance(base_value, Mapping) and isinstance(value, Mapping) and not _names_differ(base_value, value):
            if nested := difference(base_value, value):
                changes[key] = nested
        elif key not in base or value != base_value:
            changes[key] = value
    return changes


def _names_differ(base: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    return "name" in base and "name" in value and base["name"] != value["name"]
