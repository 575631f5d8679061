"""Weights on disk: checkpoints, tensors in safetensors, and pre-trained weights for a new model.

A checkpoint is a safetensors file with the weights and a JSON file beside it with everything else. Loading never
executes code from a file.
"""

import json
import math
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from nofrost.config.validation import sentence
from nofrost.errors import UserError, shortened
from nofrost.files import atomic_path, read_json, sha256_file, write_json
from nofrost.limits import regular_file
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.create import Size, build
from nofrost.models.weights import Stored, check_finite, read_header, read_weights

BEST, LAST = "best.safetensors", "last.safetensors"
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
T = TypeVar("T")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write `tensors` to `path` (``*.safetensors``), atomically; tensors on the CPU are not copied in memory."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)


def save_checkpoint(path: Path, model: Classifier, about: dict[str, Any]) -> None:
    """Write the model to `path` (``*.safetensors``), and signature, checksum and `about` to the JSON beside it."""
    write_tensors(path, model.state_dict())
    content = {"signature": model.signature.as_json(), "sha256": sha256_file(path), "about": about}
    write_json(path.with_suffix(".json"), content)


def load_model(path: str | PathLike[str]) -> Classifier:
    """Return the classifier of a checkpoint, in evaluation mode, on the CPU.

    Args:
        path: a ``.safetensors`` file with its ``.json`` beside it, or the output folder of a training, whose best
            checkpoint is then taken.

    Raises:
        UserError: there is no checkpoint, it is damaged, or its weights belong to another architecture.
    """
    file = checkpoint_file(path)
    return load_checkpoint(file, read_signature(file))


def checkpoint_file(path: str | PathLike[str]) -> Path:
    """Return the file of weights of a checkpoint that is named by that file or by its folder.

    Raises:
        UserError: there is no such file, or it is a pickle.
    """
    if not isinstance(path, str | PathLike):
        raise UserError(f"a checkpoint is named by a path, got a {type(path).__name__}: name its .safetensors file")
    try:
        file = Path(path) / BEST if Path(path).is_dir() else Path(path)
        is_file = regular_file(file).is_file()
    except OSError as error:
        raise UserError(f"cannot read {shortened(str(path))} ({error.strerror}): name another checkpoint") from None
    if file.suffix.lower() in PICKLES:
        raise _pickle(file)
    if not is_file:
        raise UserError(f"{file} is missing: name a .safetensors checkpoint or the output folder of `nofrost train`")
    if file.suffix != ".safetensors":
        raise UserError(f"{file} is no checkpoint: name its .safetensors file or the output folder of `nofrost train`")
    return file


def read_signature(file: Path) -> Signature:
    """Return the signature in the JSON beside a checkpoint's weights, after verifying their checksum.

    Raises:
        UserError: the JSON is missing or is no checkpoint's, or the weights are damaged.
    """
    sidecar = file.with_suffix(".json")
    content = read_json(sidecar)
    try:
        signature = Signature.model_validate(content["signature"])
        expected = str(content["sha256"])
    except (KeyError, TypeError):
        raise UserError(f"{sidecar} is not a checkpoint's JSON: train again, or choose another") from None
    except ValidationError as error:
        raise UserError(sentence(error, Signature, str(sidecar))) from None
    try:
        is_whole = sha256_file(file) == expected
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror}): check its permissions") from None
    if not is_whole:
        raise UserError(f"{file} is damaged (its checksum is not the one in {sidecar.name}): copy it or train it again")
    return signature


def load_checkpoint(file: Path, signature: Signature) -> Classifier:
    """Return the classifier of this signature with the weights in `file`, in evaluation mode, on the CPU.

    Raises:
        UserError: there is no such architecture, the file is no safetensors file, or its weights belong to another
            architecture; nothing larger than the file is built to find out.
    """
    header = read_header(file)
    # Layers are made and then exchanged, such as those of mixtures: so many weights come and go.
    tensors, elements = len(header), sum(math.prod(stored.shape) for stored in header.values())
    limit = Size(4 * tensors + 100, 4 * elements + 1_000_000)
    model = build(
        signature, limit, f"{file} belongs to another architecture: arch {shortened(signature.arch)} is larger"
    )
    load_weights(model, file)
    return model.eval()


def load_weights(model: torch.nn.Module, file: Path) -> None:
    """Load the weights in `file` into `model`, which must have exactly these names and shapes.

    Raises:
        UserError: the file is no safetensors file, holds the weights of another architecture, or weights that are NaN
            or infinite.
    """
    header, expected = read_header(file), model.state_dict()
    for name in sorted(expected.keys() ^ header.keys()):
        holder = "the model" if name in expected else "the file"
        raise UserError(f"{file} belongs to another architecture: {shortened(name)} is only in {holder}")
    for name, tensor in expected.items():
        if difference := header[name].difference(Stored.of(tensor)):
            raise UserError(f"{file} belongs to another architecture: {shortened(name)} {difference}")
    weights = read_weights(file)
    check_finite(file, weights, (name for name, _ in model.named_parameters()))
    model.load_state_dict(weights)


def load_pretrained(model: Classifier, source: str | Path, new_head: bool = False) -> None:
    """Give the network inside `model` pre-trained weights, in place.

    Weights of plain batch norms go into both branches of a mixture. The input normaliser, mean and standard deviation
    of the training pixels, stays that of the model. Batch norms' counts of batches may be missing in the file.

    Args:
        model: of the weights' architecture and, but for a mixture, normaliser.
        source: a ``.safetensors`` file whose names are those of the network's layers (our checkpoints, timm,
            torchvision), or a folder that holds one, such as the output of a training, whose best is taken.
        new_head: whether the last layer keeps its current values, as for other classes.

    Raises:
        UserError: there are no such weights, they are damaged or pickled, or belong to another network; the message
            names the first layer that differs.
    """
    file = weights_file(Path(source))
    signature = read_signature(file) if file.with_suffix(".json").is_file() else None
    stored = _of_network(read_header(file))
    current, head = model.network.state_dict(), _head(model)
    if new_head and not head:
        raise UserError(
            f"arch {shortened(model.signature.arch)} has no last layer that could start anew: leave out new_head"
        )
    if new_head:
        stored.update({name: Stored.of(current[name]) for name in head})
    # look each value up under every name that it may have in the file
    keys: dict[str, str | None] = {}
    for name in current:
        keys[name] = next((candidate for candidate in _names(name) if candidate in stored), None)
        if keys[name] is None and not name.endswith("num_batches_tracked"):
            raise _misfit(file, signature, model, f"{name!r} of the model is not in the file")
    if unused := sorted(stored.keys() - keys.values()):
        raise _misfit(file, signature, model, f"{shortened(unused[0])} in the file is not in the model")
    for name, key in keys.items():
        difference = None if key is None else stored[key].difference(Stored.of(current[name]))
        if difference and name in head:
            raise UserError(
                f"{file} is for other classes: {name!r} {difference}; set model.new_head to start that layer anew"
            )
        if difference:
            raise _misfit(file, signature, model, f"{name!r} {difference}")
    values = _of_network(read_weights(file))
    if new_head:
        values.update({name: current[name] for name in head})
    weights = {name: current[name] if key is None else values[key] for name, key in keys.items()}
    check_finite(file, weights, (name for name, _ in model.network.named_parameters()))
    model.network.load_state_dict(weights)


def weights_file(source: Path) -> Path:
    """Return the file of pre-trained weights that `source` is or, a folder, holds.

    Raises:
        UserError: there is no such file, or it is a pickle.
    """
    if source.suffix.lower() in PICKLES:
        raise _pickle(source)
    if regular_file(source).is_file():
        return source
    if not source.is_dir():
        raise UserError(f"{source} is missing: name a .safetensors file or the output folder of `nofrost train`")
    files = sorted(source.glob("*.safetensors"))
    if source / BEST in files:
        return source / BEST
    if len(files) != 1:
        raise UserError(
            f"{source} holds no {BEST} and {len(files)} other .safetensors files: name one of them, or the output "
            "folder of `nofrost train`"
        )
    return files[0]


def _pickle(file: Path) -> UserError:
    return UserError(
        f"{file} is a pickle, which can run code when it is loaded: convert it once, where you trust it, with "
        f"safetensors.torch.save_file(torch.load({file.name!r}, weights_only=True), "
        f"{file.stem + '.safetensors'!r}), and name that file"
    )


def _of_network(weights: Mapping[str, T]) -> dict[str, T]:
    """Return the weights inside a `Classifier` without their prefix and its input normaliser; others as they are."""
    if not any(name.startswith("network.") for name in weights):
        return dict(weights)
    return {name.removeprefix("network."): value for name, value in weights.items() if name not in ("mean", "std")}


def _names(name: str) -> list[str]:
    """Return the names that a value may have in a file: its own and, for a mixture's branch, the plain batch norm's."""
    # a batch norm of timm with a built-in activation becomes the first layer of a Sequential in a mixture, hence ".0"
    plain = re.sub(r"\.(clean|adversarial)(\.\w+)$", r"\2", name)
    return [name, plain, re.sub(r"\.0(\.\w+)$", r"\1", plain)] if plain != name else [name]


def _head(model: Classifier) -> set[str]:
    last = model.network.get_classifier()  # type: ignore[operator]
    prefixes = tuple(f"{name}." for name, module in model.network.named_modules() if module is last)
    return {name for name in model.network.state_dict() if name.startswith(prefixes)}


def _misfit(file: Path, signature: Signature | None, model: Classifier, difference: str) -> UserError:
    expected = model.signature
    if signature is None:
        remedy = "name weights of that network, or set model.arch and model.normaliser to theirs"
    elif other := [
        name for name in ("arch", "normaliser", "affine") if getattr(signature, name) != getattr(expected, name)
    ]:
        settings = (f"model.{name} to {json.dumps(getattr(signature, name))}" for name in other)
        remedy = f"set {' and '.join(settings)}, as it was trained"
    else:
        height, width = signature.image_size
        remedy = f"prepare images as it was trained on, of {signature.channels} channels and {height} x {width} pixels"
    return UserError(
        f"{file} does not fit {expected.arch} with normaliser {expected.normaliser}: {difference}; {remedy}"
    )
