"""Weights on disk: checkpoints, tensors in safetensors, and pre-trained weights for a new model.

A checkpoint is a safetensors file with the weights and a JSON file beside it with everything else. Loading never
executes code from a file.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import atomic_path, read_json, sha256_file, write_json
from nofrost.limits import regular_file
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.create import build

BEST = "best.safetensors"
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
Weights = dict[str, torch.Tensor]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write `tensors` to `path` (``*.safetensors``), atomically; tensors on the CPU are not copied in memory."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)


def save_checkpoint(path: Path, model: Classifier, about: dict[str, Any]) -> None:
    """Write the model to `path` (``*.safetensors``), and signature, checksum and `about` to the JSON beside it."""
    write_tensors(path, model.state_dict())
    content = {"signature": model.signature.as_json(), "sha256": sha256_file(path), "about": about}
    write_json(path.with_suffix(".json"), content)


def load_model(path: str | Path) -> Classifier:
    """Return the classifier of a checkpoint, in evaluation mode, on the CPU.

    Args:
        path: a ``.safetensors`` file with its ``.json`` beside it, or the output folder of a training, whose best
            checkpoint is then taken.

    Raises:
        UserError: there is no checkpoint, it is damaged, or its weights belong to another architecture.
    """
    file = Path(path) / BEST if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UserError(f"{file} is missing: name a .safetensors checkpoint or the output folder of `nofrost train`")
    model = build(read_signature(file))
    load_weights(model, file)
    return model.eval()


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
    if sha256_file(file) != expected:
        raise UserError(f"{file} is damaged (its checksum is not the one in {sidecar.name}): copy it or train it again")
    return signature


def load_weights(model: torch.nn.Module, file: Path) -> None:
    """Load the weights in `file` into `model`, which must have exactly these names and shapes.

    Raises:
        UserError: the file is no safetensors file, or holds the weights of another architecture.
    """
    weights = read_weights(file)
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ weights.keys()):
        holder = "the model" if name in expected else "the file"
        raise UserError(f"{file} belongs to another architecture: {name} is only in {holder}")
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
            raise UserError(f"{file} belongs to another architecture: {name} has shape {shapes}")
    model.load_state_dict(weights)


def read_weights(file: Path) -> Weights:
    """Return the tensors in a safetensors file by name, on the CPU.

    Raises:
        UserError: the file cannot be read as safetensors.
    """
    try:
        return load_file(regular_file(file))
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read as safetensors ({error}): copy it or train it again") from None


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
    pretrained = _of_network(read_weights(file))
    current, head = model.network.state_dict(), _head(model)
    if new_head and not head:
        raise UserError(f"arch {model.signature.arch!r} has no last layer that could start anew: leave out new_head")
    if new_head:
        pretrained.update({name: current[name] for name in head})
    # look each value up under every name that it may have in the file
    weights, used = {}, set()
    for name, value in current.items():
        key = next((candidate for candidate in _names(name) if candidate in pretrained), None)
        if key is not None:
            used.add(key)
            weights[name] = pretrained[key]
        elif name.endswith("num_batches_tracked"):
            weights[name] = value
        else:
            raise _misfit(file, signature, model, f"{name!r} of the model is not in the file")
    if unused := sorted(pretrained.keys() - used):
        raise _misfit(file, signature, model, f"{unused[0]!r} in the file is not in the model")
    for name, value in current.items():
        if value.shape != weights[name].shape:
            shapes = (
                f"{name!r} has shape {tuple(weights[name].shape)} in the file and {tuple(value.shape)} in the model"
            )
            if name in head:
                raise UserError(f"{file} is for other classes: {shapes}; set model.new_head to start that layer anew")
            raise _misfit(file, signature, model, shapes)
    model.network.load_state_dict(weights)


def weights_file(source: Path) -> Path:
    """Return the file of pre-trained weights that `source` is or, a folder, holds.

    Raises:
        UserError: there is no such file, or it is a pickle.
    """
    if source.suffix.lower() in PICKLES:
        raise UserError(
            f"{source} is a pickle, which can run code when it is loaded: convert it once, where you trust it, with "
            f"safetensors.torch.save_file(torch.load({source.name!r}, weights_only=True), "
            f"{source.stem + '.safetensors'!r}), and name that file"
        )
    if source.is_file():
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


def _of_network(weights: Weights) -> Weights:
    """Return the weights inside a `Classifier` without their prefix and its input normaliser; others as they are."""
    if not any(name.startswith("network.") for name in weights):
        return weights
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
