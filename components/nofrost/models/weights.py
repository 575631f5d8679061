"""Weights in safetensors files. What a file holds is read from its header, so that nothing is loaded that does not fit.

Loading never executes code from a file.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import safetensors
import torch
from safetensors.torch import load_file

from nofrost.errors import UserError, reason, shortened
from nofrost.limits import regular_file
from nofrost.system_errors import cannot_read, system_error

Weights = dict[str, torch.Tensor]
_LARGEST_HEADER = 1 << 24  # bytes; 100,000 tensors need 10 MB
_KINDS = {"F": "numbers", "B": "numbers", "I": "integers", "U": "integers", "C": "complex numbers"}


class Stored(NamedTuple):
    """The shape of a tensor in a file, and the kind of its values in words."""

    shape: tuple[int, ...]
    kind: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        """Return the same of a tensor in memory."""
        if tensor.dtype == torch.bool:
            return cls(tuple(tensor.shape), "truth values")
        real = "numbers" if tensor.is_floating_point() else "integers"
        return cls(tuple(tensor.shape), "complex numbers" if tensor.is_complex() else real)

    def difference(self, expected: Self) -> str | None:
        """Return in words how this differs from what a model expects; None where it does not."""
        if self.shape != expected.shape:
            return f"has shape {self.shape} in the file and {expected.shape} in the model"
        if self.kind != expected.kind:
            return f"holds {self.kind} in the file and {expected.kind} in the model"
        return None


def read_header(file: Path) -> dict[str, Stored]:
    """Return what a safetensors file says it holds, by name; the weights themselves are not read.

    Raises:
        UserError: the file cannot be read as safetensors.
    """
    try:
        with regular_file(file).open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(_LARGEST_HEADER, file.stat().st_size):
                raise ValueError(f"its header is said to have {length:,} bytes")
            content = json.loads(stream.read(length), object_pairs_hook=_without_duplicates)
        return {name: _stored(about) for name, about in content.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _unreadable(file, error) from None


def read_weights(file: Path) -> Weights:
    """Return the tensors in a safetensors file by name, on the CPU.

    Raises:
        UserError: the file cannot be read as safetensors.
    """
    read_header(file)
    try:
        return load_file(file)
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise _unreadable(file, error) from None


def check_finite(file: Path, weights: Mapping[str, torch.Tensor], parameters: Iterable[str]) -> None:
    """Check that no weight in `file` is NaN, and no parameter infinite.

    Raises:
        UserError: one is; the message names its tensor.
    """
    names = set(parameters)
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        values = tensor if tensor.dtype.itemsize > 1 else tensor.float()
        if values.isnan().any() or (name in names and values.isinf().any()):
            raise UserError(
                f"{file}: {shortened(name)} holds values that are NaN or infinite: train again, or choose another"
            )


def _stored(about: Any) -> Stored:
    dtype, shape = str(about["dtype"]), tuple(about["shape"])
    if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) >= 2**63:
        raise ValueError(f"a tensor has the shape {shortened(shape)}")
    return Stored(shape, "truth values" if dtype == "BOOL" else _KINDS[dtype[:1]])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it holds {shortened(twice)} twice")
    return content


def _unreadable(file: Path, error: Exception) -> UserError:
    if (refusal := system_error(error)) is not None:
        return cannot_read(refusal, file)
    why = str(error) if type(error) is ValueError else reason(error)
    return UserError(f"{file} cannot be read as safetensors ({why}): copy it or train it again")
