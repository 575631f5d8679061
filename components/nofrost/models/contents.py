"""The tensors of any model: whether they can be computed with, and one checksum of them all."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nofrost.errors import UserError, reason


def check_contents(model: nn.Module) -> None:
    """Check that every parameter and buffer of a model has values, and can be used outside of inference mode.

    Raises:
        UserError: one has none or cannot; the message names it.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            fault = "has no shape yet, as its layer is lazy: call the model on an image first"
        elif tensor.is_meta or _is_fake(tensor):
            kind = "on the device meta" if tensor.is_meta else "a fake tensor"
            fault = f"is {kind} and has no values: make the model on the CPU, and load its weights"
        elif tensor.is_inference():
            fault = "was made under torch.inference_mode, where gradients cannot pass: make the model outside of it"
        else:
            continue
        raise UserError(f"the model's {name!r} {fault}")


def is_readable(tensor: Tensor) -> bool:
    """Return whether a tensor is an array of values: not sparse, nested or quantised, fake or on the device meta."""
    is_array = tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_quantized)
    return is_array and not (tensor.is_meta or _is_fake(tensor))


def model_sha256(model: nn.Module) -> str:
    """Return one SHA-256 of a model's ``repr`` and of everything in its state dictionary.

    Raises:
        UserError: a tensor cannot be read; the message names it.
    """
    check_contents(model)
    try:
        text, contents = repr(model), model.state_dict()
    except Exception as error:
        raise UserError(f"the model does not show what it holds: it raised {reason(error)}") from error
    digest = hashlib.sha256(text.encode(errors="surrogatepass"))
    for name, value in contents.items():
        for part in _parts(str(name), value):
            digest.update(part)
    return digest.hexdigest()


def tensor_checksums(model: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every parameter and buffer of a model by its name.

    Raises:
        UserError: a tensor cannot be read; the message names it.
    """
    checksums = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest = hashlib.sha256()
        for part in _parts(name, tensor):
            digest.update(part)
        checksums[name] = digest.hexdigest()
    return checksums


def _parts(name: str, value: Any) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a value of a state dictionary; of one that is neither a tensor nor plain values, none."""
    if isinstance(value, Tensor):
        yield from _tensor_parts(name, value)
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _parts(f"{name}.{key}", member)
    elif isinstance(value, list | tuple):
        for index, member in enumerate(value):
            yield from _parts(f"{name}.{index}", member)
    elif isinstance(value, bool | int | float | str | bytes):
        yield f"{name} {value!r}".encode(errors="surrogatepass")


def _tensor_parts(name: str, tensor: Tensor) -> Iterator[bytes | memoryview]:
    inner = _inner(tensor)
    if inner is not None:
        yield f"{name} {type(tensor).__name__} {tensor.dtype} {tensor.layout}".encode()
        yield from _parts(name, inner)
        return
    try:
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        content = plain.reshape(-1).view(torch.uint8).numpy().data
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise UserError(
            f"the model's {name!r} ({tensor.dtype}, {tensor.layout}) cannot be read ({reason(error)}): keep it as a "
            "plain tensor"
        ) from error
    yield f"{name} {tensor.dtype} {list(tensor.shape)}".encode()
    yield content


def _inner(tensor: Tensor) -> dict[str, Any] | None:
    """Return the plain tensors and values that one of another kind consists of; None for a plain one."""
    if tensor.is_nested:
        return dict(enumerate(tensor.unbind()))  # type: ignore[arg-type]
    if tensor.layout is torch.sparse_coo:
        whole = tensor.coalesce()
        return {"shape": tuple(whole.shape), "indices": whole.indices(), "values": whole.values()}
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return {
            "shape": tuple(tensor.shape),
            "rows": tensor.crow_indices(),
            "columns": tensor.col_indices(),
            "values": tensor.values(),
        }
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return {
            "shape": tuple(tensor.shape),
            "columns": tensor.ccol_indices(),
            "rows": tensor.row_indices(),
            "values": tensor.values(),
        }
    if tensor.layout is not torch.strided:
        return {"shape": tuple(tensor.shape), "values": tensor.to_dense()}
    if tensor.is_quantized:
        return {"values": tensor.int_repr(), **_scales(tensor)}
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return {name: getattr(tensor, name) for name in names}
    return None


def _scales(tensor: Tensor) -> dict[str, Any]:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return {"scale": tensor.q_scale(), "zero": tensor.q_zero_point()}
    return {"scale": tensor.q_per_channel_scales(), "zero": tensor.q_per_channel_zero_points()}


def _is_fake(tensor: Tensor) -> bool:
    # Not by its class, whose module takes a second to import.
    return type(tensor).__name__ == "FakeTensor"
