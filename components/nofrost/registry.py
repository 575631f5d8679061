"""Frozen dataclasses by name: what is chosen in a recipe or suite by a name and its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Generic, TypeVar

from nofrost.errors import unknown

T = TypeVar("T")
Class = TypeVar("Class", bound=type[Any])


@dataclass
class Registry(Generic[T]):
    """The classes of one kind, each a frozen dataclass whose fields are the settings that a user may give.

    Args:
        kind: what they are called in errors, such as ``attack``.
        classes: those that are known, by name.
    """

    kind: str
    classes: dict[str, type[T]] = field(default_factory=dict)

    def register(self, name: str) -> Callable[[Class], Class]:
        """Make a class known under `name`, which becomes its attribute ``name``."""

        def enter(entered: Class) -> Class:
            if name in self.classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            entered.name = name
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
            for each in fields(self._known(name))  # type: ignore[arg-type]  # each is a dataclass
            if each.default is not MISSING
        }

    def create(self, name: str, **settings: Any) -> T:
        """Return one of the class called `name`, with these settings.

        Raises:
            UserError: there is no such name or setting; the sentence lists those that there are.
        """
        chosen = self._known(name)
        allowed = [each.name for each in fields(chosen)]  # type: ignore[arg-type]  # as above
        for setting in settings:
            if setting not in allowed:
                raise unknown(f"setting of {self.kind} {name!r}", setting, allowed)
        return chosen(**settings)

    def _known(self, name: str) -> type[T]:
        if name not in self.classes:
            raise unknown(self.kind, name, self.classes)
        return self.classes[name]
