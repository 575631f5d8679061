"""What code in a folder imports: modules beside it, out of sight of the code in any other folder."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Self

# This process stands on these modules, and several of them cannot be loaded twice: a neighbour of the same name does
# not come before them once they are loaded.
KEPT = sys.stdlib_module_names | {"nofrost", "numpy", "torch"}


class Imports:
    """The imports of the code in some folders, as if Python had been started on it.

    Inside :meth:`active` the folders come first on ``sys.path``. Modules that are found there are in ``sys.modules``
    only inside, so that code in another folder, whose neighbours have the same names, never gets them.

    Args:
        folders: in which modules are looked for first.

    Attributes:
        modules: those that were found in the folders, by name.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        importlib.invalidate_caches()
        self.modules: dict[str, ModuleType] = {}
        self._is_active = False
        self._loaded: frozenset[str] = frozenset()
        self._folders = tuple(dict.fromkeys(os.path.realpath(folder) for folder in folders))
        self._path: list[str] = [*self._folders, *sys.path]
        loaded = {_top(name) for name in sys.modules} - KEPT
        hidden = {name for name in loaded & self._names() if self._has_another(name)}
        self._hidden = {name for name in sys.modules if _top(name) in hidden}

    def add(self, name: str, module: ModuleType) -> None:
        """Make `module` known by `name` inside later blocks of :meth:`active`."""
        self.modules[name] = module

    def holds(self, module: ModuleType) -> bool:
        """Return whether a module is in one of the folders."""
        return _folder_of(getattr(module, "__spec__", None)) in self._folders

    def __deepcopy__(self, memo: Any) -> Self:
        # A copy of a model runs the same code.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.modules:
            raise TypeError(
                f"a model whose code is in {self._folders[0]} cannot be pickled, as others would not find its classes: "
                "load it where it is needed, or save its state_dict()"
            )
        # Nothing that it imports is hidden: elsewhere the model needs no imports of its own.
        return type(None), ()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let imports inside the block be those of the folders."""
        if self._is_active:
            yield
            return
        hidden = {name: sys.modules.pop(name) for name in self._hidden | set(self.modules) if name in sys.modules}
        sys.modules.update(self.modules)
        # Copied only where it has changed, as that takes longer than a small model
        if len(sys.modules) != len(self._loaded):
            self._loaded = frozenset(sys.modules)
        before, path = self._loaded, list(sys.path)
        sys.path[:] = self._path
        self._is_active = True
        try:
            yield
        finally:
            self._is_active = False
            if sys.path != self._path or len(sys.modules) != len(before):
                self._take_over(before, path)
            self.modules = {name: sys.modules.pop(name) for name in self.modules if name in sys.modules}
            sys.modules.update(hidden)
            sys.path[:] = path

    def _take_over(self, before: frozenset[str], path: Sequence[str]) -> None:
        """Note what the code has imported, also from folders that it has itself added to the path."""
        self._path = list(sys.path)
        added = {os.path.realpath(folder) for folder in self._path} - {os.path.realpath(folder) for folder in path}
        folders = added | set(self._folders)
        for name in sys.modules.keys() - before:
            if _folder_of_top(name, sys.modules) in folders:
                self.modules[name] = sys.modules[name]

    def _names(self) -> set[str]:
        names: set[str] = set()
        for folder in self._folders:
            with suppress(OSError):
                names |= {_top(entry.name) for entry in Path(folder).iterdir()}
        return names

    def _has_another(self, name: str) -> bool:
        """Return whether Python would import `name` from the folders, and a module from elsewhere is loaded."""
        return (
            _folder_of(PathFinder.find_spec(name, self._path)) in self._folders
            and _folder_of_top(name, sys.modules) not in self._folders
        )


def _top(name: str) -> str:
    return name.partition(".")[0]


def _folder_of_top(name: str, modules: Mapping[str, ModuleType]) -> str | None:
    return _folder_of(getattr(modules.get(_top(name)), "__spec__", None))


def _folder_of(spec: ModuleSpec | None) -> str | None:
    """Return the folder on the path in which a top-level module was found; None for one that has no file."""
    if spec is None:
        return None
    places = spec.submodule_search_locations
    if places is not None:
        return next((str(Path(os.path.realpath(place)).parent) for place in places), None)
    return str(Path(os.path.realpath(spec.origin)).parent) if spec.has_location and spec.origin else None
