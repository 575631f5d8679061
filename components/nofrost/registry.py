"""Classes by name whose fields are their settings: what a recipe or suite chooses by a name and its settings.

A setting is stated once, as a field with its type and range, for example ``steps: PositiveInt = 20``. The same field
checks a call from Python and a file: `Registry.create` and `Registry.check`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import ConfigDict, ValidationError

from nofrost.config.base import NamedSettings, Schema, named_settings
from nofrost.config.validation import sentence, with_override
from nofrost.errors import UserError, unknown

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])

# Values are not converted: true is no number, 2.0 no whole number, and no number is NaN or infinite
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, pydantic.Field))
def configurable(cls: Class) -> Class:
    """Make `cls` a frozen dataclass with keyword arguments alone, each checked by the type and range of its field.

    Raises:
        UserError: from the constructor, for a setting that is unknown, missing or out of its range.
    """
    settings_class: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    validate = settings_class.__init__

    @functools.wraps(validate)
    def __init__(self: Any, **settings: Any) -> None:  # noqa: N807  it takes the place of the constructor
        try:
            validate(self, **settings)
        except ValidationError as error:
            raise UserError(sentence(error, type(self), _title(type(self)))) from error

    settings_class.__init__ = __init__
    return cast(Class, settings_class)


def _title(cls: type[Any]) -> str:
    return f"{cls.kind} {cls.name!r}" if hasattr(cls, "kind") else cls.__name__


@dataclass
class Registry(Generic[T]):
    """The classes of one kind, each settings_class by `configurable`.

    Args:
        kind: what they are called in errors, such as ``attack``.
        elsewhere: settings that a file states elsewhere, such as an attack's threat, each with a value to check the
            others beside, None for its default.
        classes: those that are known, by name.
    """

    kind: str
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    classes: dict[str, type[T]] = field(default_factory=dict)

    def register(self, name: str) -> Callable[[Class], Class]:
        """Make a class known under `name`, which becomes its attribute ``name``."""

        def enter(entered: Class) -> Class:
            if name in self.classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            if "__pydantic_validator__" not in vars(entered):
                raise TypeError(f"the settings of {self.kind} {name!r} are not checked: write @configurable above it")
            entered.name = name
            entered.kind = self.kind
            self.classes[name] = entered
            return entered

        return enter

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self.classes)

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings that have a default, with that default.

        Raises:
            UserError: there is no such name.
        """
        return {
            each.name: each.default
            for each in fields(self.get(name))  # type: ignore[arg-type]  # each is a dataclass
            if each.default is not MISSING
        }

    def create(self, name: str, **settings: Any) -> T:
        """Return one of the class called `name`, with these settings.

        Raises:
            UserError: there is no such name or setting (the sentence lists those that there are), or a value is out of
                its range.
        """
        return self.get(name)(**settings)

    def check(self, spec: NamedSettings, origin: str, key: Sequence[str], overrides: Sequence[str] = ()) -> None:
        """Check that `create` would take the name and settings of `spec`.

        Args:
            origin: the file that `spec` comes from.
            key: where it stands there.
            overrides: texts `key=value` on top of the file; the one that settings_class the fault is named too.

        Raises:
            UserError: it would not; the sentence names file, key and the settings that there are.
        """
        try:
            stand_ins = {name: value for name, value in self.elsewhere.items() if value is not None}
            self.create(spec.name, **stand_ins, **spec.settings())
        except UserError as error:
            if isinstance(error.__cause__, ValidationError):
                owner, hidden = self.get(spec.name), tuple(self.elsewhere)
                raise UserError(sentence(error.__cause__, owner, origin, overrides, key, hidden)) from None
            location = ".".join((*key, "name"))
            raise UserError(f"{with_override(origin, location, overrides)}: {location}: {error}") from None

    def get(self, name: str) -> type[T]:
        """Return the class called `name`.

        Raises:
            UserError: there is none; the sentence names the closest and all that there are.
        """
        if name not in self.classes:
            raise unknown(self.kind, name, self.classes)
        return self.classes[name]


def check_settings(
    config: Schema,
    registries: Mapping[type[NamedSettings], Registry[Any]],
    origin: str,
    overrides: Sequence[str] = (),
) -> None:
    """Check the settings of everything that a configuration chooses by name, wherever it stands in there.

    Args:
        config: a recipe, suite or study.
        registries: by the type of the part of the configuration, such as `AttackSpec`; others are passed over.
        origin, overrides: as of `Registry.check`.

    Raises:
        UserError: as `Registry.check`.
    """
    for key, spec in named_settings(config):
        if type(spec) in registries:
            registries[type(spec)].check(spec, origin, key, overrides)
