"""Models defined in other code: a function, named on the command line, that returns a module."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from nofrost.errors import UserError, unknown
from nofrost.files import sha256_file


@dataclass(frozen=True)
class Reference:
    """A function that returns a model, written ``package.module:function`` or ``path/to/file.py:function``.

    Modules are searched for in the current folder first. The code is run: use only code that you trust.

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
        if not module_name or not name.isidentifier():
            raise UserError(
                f"model {self.text!r} is not of the form module:function or file.py:function: write nets:resnet, say"
            )

    def load(self) -> nn.Module:
        """Return the model, in evaluation mode.

        Raises:
            UserError: there is no such module, file or function, it raises an error, or it returns something else.
        """
        module_name, _, name = self.text.rpartition(":")
        module = self._module(module_name)
        if not hasattr(module, name):
            known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise unknown(f"function of {module_name}", name, known)
        model = getattr(module, name)
        if not isinstance(model, nn.Module):
            model = self._call(model)
        if not isinstance(model, nn.Module):
            raise UserError(
                f"model {self.text} is a {type(model).__name__}: it must be a torch.nn.Module that maps images in "
                "[0, 1] to logits, or a function that returns one"
            )
        return model.eval()

    def code_sha256(self) -> str:
        """Return the SHA-256 of the file that the function is in."""
        module_name = self.text.rpartition(":")[0]
        file = module_name if _is_file(module_name) else getattr(importlib.util.find_spec(module_name), "origin", None)
        return sha256_file(Path(file)) if file and Path(file).is_file() else ""

    def _call(self, function: Callable[..., Any]) -> Any:
        if not callable(function):
            return function
        try:
            return function(**self.settings)
        except Exception as error:
            raise UserError(f"model {self.text} cannot be created: it raised {_first_line(error)}") from error

    def _module(self, module_name: str) -> ModuleType:
        folder = str(Path.cwd())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            return _module_of_file(Path(module_name)) if _is_file(module_name) else importlib.import_module(module_name)
        except UserError:
            raise
        except Exception as error:
            absent = error.name if isinstance(error, ModuleNotFoundError) else None
            if absent and f"{module_name}.".startswith(f"{absent}."):
                raise UserError(
                    f"there is no module {absent} in {folder} or among the installed ones: choose another, or a file.py"
                ) from None
            raise UserError(f"{module_name} cannot be imported: it raised {_first_line(error)}") from error


def _is_file(module_name: str) -> bool:
    return module_name.endswith(".py") or "/" in module_name


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path} is missing: name a file of Python code, or a module")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no file of Python code: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look up their module there
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
