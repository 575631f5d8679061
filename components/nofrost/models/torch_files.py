"""Tensors in torch's own files, read without running the code that such a file may hold."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from nofrost.errors import UserError, reason, shortened
from nofrost.limits import regular_file
from nofrost.system_errors import cannot_read

_HOLDERS = ("state_dict", "model", "params")  # keys under which programs put the weights


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Return the tensors of one of torch's files by name, on the CPU, in either of torch's formats.

    Only tensors are read; what else a pickle may ask for is refused. Names are without the ``module.`` of a model that
    several GPUs trained.

    Raises:
        UserError: it cannot be read, or holds something else than tensors by name.
    """
    try:
        stream = regular_file(file).open("rb")
    except OSError as error:
        raise cannot_read(error, file) from None
    try:
        with stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
        what = f"asks for {asked[1]}" if asked else "is damaged, or not a file of torch"
        raise UserError(
            f"{file} {what}, where only tensors are read and no code is run: choose a file that holds weights alone"
        ) from None
    except Exception as error:  # whatever a cut-off pickle or archive raises
        raise UserError(f"{file} is cut off or not a file of torch ({reason(error)}): download it again") from None
    for key in _HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return _tensors(file, content)


def _tensors(file: Path, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{file} holds no weights by name: choose the file of a state_dict")
    tensors = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UserError(f"{file}: {shortened(str(name))} is not a weight: choose the file of a state_dict")
        tensors[name.removeprefix("module.")] = tensor.detach()
    return tensors
