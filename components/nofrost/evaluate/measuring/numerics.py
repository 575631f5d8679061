"""The state of torch and of the model while numbers are measured: float32 without shortcuts, evaluation mode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from nofrost.errors import UserError


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Switch off autocast, TF32 and bfloat16 shortcuts and the timing-dependent choice of algorithms; undo it after.

    Ten bits of mantissa (TF32) and half precision hide small gradients, which makes a model look more robust than it
    is; algorithms chosen by timing make two runs differ.
    """
    cudnn = torch.backends.cudnn
    with ExitStack() as stack:
        for holder, name, value in _full_precision():
            stack.enter_context(_setting(holder, name, value))
        stack.enter_context(_setting(cudnn, "benchmark", False))
        stack.enter_context(_setting(cudnn, "deterministic", True))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        yield


def state_of_float32(device: torch.device) -> dict[str, bool]:
    """Return the settings of :func:`exact_float32` as torch reports them at this moment."""
    return {
        "tf32": any(getattr(holder, name) not in (False, "ieee") for holder, name, _ in _full_precision()),
        "autocast": torch.is_autocast_enabled(device.type),
        "deterministic": bool(torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark),
    }


def _full_precision() -> list[tuple[Any, str, Any]]:
    """Return (holder, attribute, value) of the settings that keep float32 products in float32.

    torch 2.9 replaced the flags by one setting for each kind of operation, and reading a mixture of both is an error:
    so all convolutions and recurrences are set alike, and the flags are used only where there is nothing else.
    """
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]
    operations = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    if hasattr(backends.mkldnn, "matmul"):
        operations += [backends.mkldnn.matmul, backends.mkldnn.conv]
    return [(operation, "fp32_precision", "ieee") for operation in operations]


@contextmanager
def _setting(holder: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)


class FromCallable(nn.Module):
    """A module around any callable that maps images to logits."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Call the function."""
        return self._function(images)


@contextmanager
def evaluation_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the model on `device` and every module in evaluation mode; put all back as it was, module by module."""
    modes = [(module, module.training) for module in model.modules()]
    home = model_device(model)
    try:
        for module, _ in modes:
            module.training = False
        if home != device:
            model.to(device)
        yield
    finally:
        for module, training in modes:
            module.training = training
        if home != device:
            model.to(home)


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of this name.

    Raises:
        UserError: there is none, or this build of torch cannot use it.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device {str(name)!r} cannot be used ({reason}): choose another, such as cpu") from None


def model_device(model: nn.Module) -> torch.device:
    """Return where the first parameter or buffer of the model lives; the CPU when it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def model_sha256(model: nn.Module) -> str:
    """Return one SHA-256 of a model's ``repr`` and of everything in its state dictionary."""
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
