"""Registries: classes that a recipe or suite selects by name, whose fields are their settings.

A setting is declared once, as a field with its type and range, for example ``steps: PositiveInt = 20``. That field
validates calls from Python (`Registry.create`) and configuration files (`Registry.check`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import ConfigDict, ValidationError, ValidationInfo, field_validator

from nofrost.config.base import NamedSettings, Schema, named_settings, truth_value, usable
from nofrost.config.validation import sentence, with_override
from nofrost.errors import UserError, unknown

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])

# Strict: true is not accepted as a number nor 2.0 as an integer, and numbers are finite
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, pydantic.Field))
def configurable(cls: Class) -> Class:
    """Make `cls` a frozen, keyword-only dataclass that validates each argument against its field's type and range.

    Raises:
        UserError: from the constructor, for a setting that is unknown, missing or out of its range.
    """
    cls._usable = field_validator("*", mode="before")(_usable)
    settings_class: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    validate = settings_class.__init__

    @functools.wraps(validate)
    def __init__(self: Any, **settings: Any) -> None:  # noqa: N807  it replaces the constructor
        try:
            validate(self, **settings)
        except ValidationError as error:
            raise UserError(sentence(error, type(self), _title(type(self)))) from error

    settings_class.__init__ = __init__
    return cast(Class, settings_class)


def _usable(cls: type[Any], value: Any, info: ValidationInfo) -> Any:
    name = str(info.field_name)
    is_truth_value = cls.__dataclass_fields__[name].type in (bool, "bool")
    if is_truth_value:
        return truth_value(value)
    # Its type limits it.
    return value if name == "seed" else usable(value)


def _title(cls: type[Any]) -> str:
    return f"{cls.kind} {cls.name!r}" if hasattr(cls, "kind") else cls.__name__


@dataclass
class Registry(Generic[T]):
    """The classes of one kind by name, each declared with `configurable`.

    Args:
        kind: the word for one of them in error messages, such as ``attack``.
        elsewhere: settings that a file states elsewhere, such as an attack's threat, each with the value to use while
            the other settings are checked; None for its default.
        classes: the registered classes by name.
    """

    kind: str
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    classes: dict[str, type[T]] = field(default_factory=dict)

    def register(self, name: str) -> Callable[[Class], Class]:
        """Register a class under `name`, which becomes its attribute ``name``."""

        def decorate(cls: Class) -> Class:
            if name in self.classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            if "__pydantic_validator__" not in vars(cls):
                raise TypeError(f"the settings of {self.kind} {name!r} are not checked: write @configurable above it")
            cls.name = name
            cls.kind = self.kind
            self.classes[name] = cls
            return cls

        return decorate

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self.classes)

    def settings(self, name: str) -> dict[str, Any]:
        """Return the default of each setting that has one.

        Raises:
            UserError: there is no such name.
        """
        return {
            setting.name: setting.default
            for setting in fields(self.get(name))  # type: ignore[arg-type]  # every class is a dataclass
            if setting.default is not MISSING
        }

    def create(self, name: str, **settings: Any) -> T:
        """Return an instance of the class called `name` with these settings.

        Raises:
            UserError: there is no such name or setting (the message lists the valid ones), or a value is out of its
                range.
        """
        return self.get(name)(**settings)

    def check(self, spec: NamedSettings, origin: str, key: Sequence[str], overrides: Sequence[str] = ()) -> None:
        """Check that `create` accepts the name and settings of `spec`.

        Args:
            origin: the file that `spec` comes from.
            key: its location in that file.
            overrides: texts `key=value` on top of the file; the message names the one at fault.

        Raises:
            UserError: it does not; the message names the file, the key and the valid settings.
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
            UserError: there is none; the message suggests the closest name and lists all.
        """
        if not isinstance(name, str) or name not in self.classes:
            raise unknown(self.kind, name, self.classes)
        return self.classes[name]


def check_settings(
    config: Schema, registries: Mapping[type[NamedSettings], Registry[Any]], origin: str, overrides: Sequence[str] = ()
) -> None:
    """Check the settings of everything that a configuration selects by name, at any depth.

    Args:
        config: a recipe, suite or study.
        registries: by the type of the spec in the configuration, such as `AttackSpec`, or a base of it; other specs
            are ignored.
        origin, overrides: as in `Registry.check`.

    Raises:
        UserError: as in `Registry.check`.
    """
    for key, spec in named_settings(config):
        for kind, registry in registries.items():
            if isinstance(spec, kind):
                registry.check(spec, origin, key, overrides)
