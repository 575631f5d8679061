"""Devices: choice and name, lack of memory, number of threads, and exact float32 arithmetic."""

import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nofrost.errors import UserError, reason
from nofrost.ranks import process_rank

GRAIN = 32_768  # elements below which torch itself keeps an operation on one thread


def default_device() -> torch.device:
    """Return the first GPU, or the CPU where there is none; each process that torchrun started gets a GPU of its own.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    process = process_rank()
    if process.size == 1:
        return torch.device("cuda")
    local_rank, count = process.local_rank, torch.cuda.device_count()
    if local_rank >= count:
        raise UserError(f"process {local_rank} of this machine has no GPU of its own: start at most {count}, one each")
    return torch.device("cuda", local_rank)


def usable_device(name: str | torch.device) -> torch.device:
    """Return the device of this name.

    Raises:
        UserError: there is no such device, or this build of torch cannot use it.
    """
    try:
        tensor = torch.zeros(1, device=name)
        # Read back: the device meta takes tensors, and keeps no values.
        tensor.cpu()
    except Exception as error:
        raise UserError(f"device {str(name)!r} cannot be used ({reason(error)}): choose another, such as cpu") from None
    return tensor.device


def require_gpus(count: int) -> None:
    """Check that at least `count` GPUs are available, so that nothing trains for days on a CPU unnoticed.

    Raises:
        UserError: there are fewer.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if available < count:
        raise UserError(
            f"{count} GPUs were asked for and {available} can be seen: run on a node that has them, with an image and "
            "driver for CUDA, or ask for 0"
        )


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether the device has units for bfloat16; one without emulates it, many times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return True
    return any("bf16" in name and has_it is True for name, has_it in torch.cpu.get_capabilities().items())


def device_name(device: torch.device) -> str:
    """Return the device in words: the GPU's name, or the CPU and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'' if threads == 1 else 's'}"


def hardware_name(device: torch.device) -> str:
    """Return the manufacturer's name of the device; equal for equal machines."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def model_device(model: nn.Module) -> torch.device:
    """Return the device of the model's first parameter or buffer; the CPU when it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def on_device(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Move the model to `device` inside the block and back afterwards."""
    home = model_device(model)
    try:
        if home != device:
            model.to(device)
        yield
    finally:
        if home != device:
            model.to(home)


def device_failed(error: BaseException) -> bool:
    """Return whether `error` reports that an accelerator or its libraries failed, whatever code was running."""
    # older versions of torch raise a plain RuntimeError
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    signs = ("CUDA error", "cuBLAS", "cuDNN error")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def out_of_memory(error: BaseException) -> bool:
    """Return whether `error` reports that an accelerator or the machine ran out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch raises OutOfMemoryError for accelerators only
    signs = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@contextmanager
def raise_on_oom(message: str) -> Iterator[None]:
    """Turn an out-of-memory error inside the block, of any device, into a UserError with this message."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(message) from None


@contextmanager
def single_thread() -> Iterator[None]:
    """Use one CPU thread inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def single_thread_if_small(device: torch.device, pixels: int, limit: int = GRAIN) -> Iterator[None]:
    """Use one CPU thread inside the block if the work, `pixels` in size, is too small to pay for several.

    On small batches threads spend more time waiting for one another than they save, most of all on a busy machine
    (measured: 5 to 20 times slower). The rule looks at the work alone, so that equal work has equal bits.

    Args:
        device: where the work is done; nothing changes unless it is the CPU.
        pixels: number of pixels to work on, such as those of a batch.
        limit: number of pixels from which several threads pay off.
    """
    with single_thread() if device.type == "cpu" and pixels < limit else nullcontext():
        yield


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
    """Return the current values of the settings that :func:`exact_float32` changes, read back from torch."""
    return {
        "tf32": any(getattr(holder, name) not in (False, "ieee") for holder, name, _ in _full_precision()),
        "autocast": torch.is_autocast_enabled(device.type),
        "deterministic": bool(torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark),
    }


def _full_precision() -> list[tuple[Any, str, Any]]:
    """Return (holder, attribute, value) of the settings that keep float32 products in float32.

    torch 2.9 replaced the flags by one setting for each kind of operation, and reading a mixture of both is an error:
    so convolutions and recurrences are set one by one, and the flags are used only with older versions.
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
