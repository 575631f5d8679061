"""Models defined in other code: a function, named on the command line, that returns a module."""

import copyreg
import hashlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, SupportsIndex

import torch
from torch import nn

from nofrost.errors import UserError, shortened, unknown
from nofrost.files import sha256_file
from nofrost.models.foreign import foreign_code
from nofrost.models.imports import KEPT, Imports

_LONGEST = 4096  # characters of a path


@dataclass(frozen=True)
class Reference:
    """A function that returns a model, written ``package.module:function`` or ``path/to/file.py:function``.

    The code is run: use only code that you trust. It is run as Python would run the file: what it imports is searched
    for first in the folder of the file (or the current one, for a module), and is not visible to the code of another
    model. That holds while the code is loaded, while the function runs, and whenever the model is called.

    Args:
        text: names the function. If the name is that of a `torch.nn.Module` object, that is the model.
        settings: keyword arguments of the function.

    Raises:
        UserError: the text has another form.
    """

    text: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module_name, _, name = self.text.rpartition(":")
        if not module_name or not name.isidentifier() or "\0" in self.text or len(self.text) > _LONGEST:
            raise UserError(
                f"model {shortened(self.text)} is not of the form module:function or file.py:function: write "
                "nets:resnet, say"
            )

    def load(self) -> nn.Module:
        """Return the model, in evaluation mode.

        Raises:
            UserError: there is no such module, file or function, it raises an error, or it returns something else.
        """
        module_name, _, name = self.text.rpartition(":")
        module = self._module(module_name)
        with self._running(f"model {self.text} cannot be created"):
            if not hasattr(module, name):
                known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
                raise unknown(f"function of {module_name}", name, known)
            model = getattr(module, name)
            if not isinstance(model, nn.Module) and callable(model):
                model = model(**self.settings)
            if not isinstance(model, nn.Module):
                raise UserError(
                    f"model {self.text} is a {type(model).__name__}: it must be a torch.nn.Module that maps images in "
                    "[0, 1] to logits, or a function that returns one"
                )
            _evaluation_mode(model)
            _import_when_called(model, self._imports)
        return model

    def code_sha256(self) -> str:
        """Return the SHA-256 of the file that the function is in, or one of all files of its folder that it imports."""
        module_name = self.text.rpartition(":")[0]
        if self._file is None:
            with self._imports.active():
                spec = importlib.util.find_spec(module_name)
            main = Path(spec.origin) if spec and spec.origin else None
        else:
            main = self._file
        modules = sorted(self._imports.modules.items())
        files = [Path(file) for _, module in modules if (file := getattr(module, "__file__", None))]
        sums = {file: sha256_file(file) for file in (*([main] if main else []), *files) if file.is_file()}
        if len(sums) > 1:
            return hashlib.sha256("".join(sums.values()).encode()).hexdigest()
        return next(iter(sums.values()), "")

    @cached_property
    def _file(self) -> Path | None:
        """The file that holds the function; None where the text names a module."""
        module_name = self.text.rpartition(":")[0]
        if not (module_name.endswith(".py") or "/" in module_name):
            return None
        path = Path(module_name).absolute()
        package = path / "__init__.py"
        return package if package.is_file() else path

    @cached_property
    def _imports(self) -> Imports:
        if self._file is None:
            return Imports([Path.cwd()])
        return Imports([self._file.parent, self._file.resolve().parent, _place(self._file)[0]])

    @contextmanager
    def _running(self, failure: str) -> Iterator[None]:
        program = str(self._file or self.text.rpartition(":")[0])
        with self._imports.active(), foreign_code(failure, program):
            yield

    def _module(self, module_name: str) -> ModuleType:
        failure = f"{module_name} cannot be imported"
        if self._file is not None:
            module, spec = _new_module(self._file, module_name, self._imports)
            with self._running(failure):
                spec.loader.exec_module(module)  # type: ignore[union-attr]
            return module
        with self._running(failure):
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                if not (error.name and f"{module_name}.".startswith(f"{error.name}.")):
                    raise
                raise UserError(
                    f"there is no module {error.name} in {Path.cwd()} or among the installed ones: choose another, or "
                    "a file.py"
                ) from None
        if module_name.partition(".")[0] in sys.stdlib_module_names and not self._imports.holds(module):
            raise UserError(
                f"{module_name} is a module of Python itself, which has no models: name your own, or a file"
            )
        return module


def _place(file: Path) -> tuple[Path, str]:
    """Return the folder above all packages that the file is in, and the file's name as a module from there."""
    names = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(names)


def _new_module(file: Path, text: str, imports: Imports) -> tuple[ModuleType, ModuleSpec]:
    """Return the module of a file, not run yet, and how it is run; `imports` know it from now on."""
    if not file.is_file():
        raise UserError(f"{text} is missing: name a file of Python code, or a module")
    _, name = _place(file)
    if name.partition(".")[0] in KEPT:
        name = f"_{name}"
    folders = [str(file.parent)] if file.stem == "__init__" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise UserError(f"{text} is no file of Python code: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Pickled classes and dataclasses look up their module: by its name as a member of packages, and as a file alone.
    for alias in {name, name.rpartition(".")[2]}:
        imports.add(alias, module)
    return module, spec


def _evaluation_mode(model: nn.Module) -> None:
    try:
        model.eval()
    except Exception:
        # Some classes forbid it, such as those that torch.export makes.
        for module in model.modules():
            module.training = False


def _import_when_called(model: nn.Module, imports: Imports) -> None:
    """Let calls of the model import what its code may import, and print to standard error.

    By a subclass of its own: a hook after the forward pass would not be called when Ctrl-C interrupts that.
    """
    if isinstance(model, torch.jit.ScriptModule):
        # It runs no Python, and keeps its class.
        return
    original = type(model)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with imports.active(), redirect_stdout(sys.stderr):
            return original.__call__(self, *args, **kwargs)

    def reduce(self: nn.Module, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        parts = original.__reduce_ex__(self, protocol)
        if isinstance(parts, tuple) and parts[:2] == (copyreg.__newobj__, (type(self),)):  # type: ignore[attr-defined]
            return (_new, (imports, original), *parts[2:])
        return parts

    members = {
        **{name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")},
        "__call__": call,
        "__reduce_ex__": reduce,
        # Code that asks a model for its class, as by `super(self.__class__, self)`, gets its own.
        "__class__": property(lambda _: original),
    }
    importing = types.new_class(original.__name__, (original,), exec_body=lambda body: body.update(members))
    object.__setattr__(model, "__class__", importing)


def _new(imports: Imports | None, original: type[nn.Module]) -> nn.Module:
    """Return a model without attributes, for a copy of one that was loaded."""
    model = original.__new__(original)
    if imports is not None:
        _import_when_called(model, imports)
    return model
