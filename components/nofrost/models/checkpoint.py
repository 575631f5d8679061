"""Checkpoints: weights in safetensors, everything else in JSON beside them. Loading executes no code from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file, write_json
from nofrost.models.classifier import Classifier, Signature
from nofrost.models.create import build
from nofrost.models.tensors import write_tensors

BEST = "best.safetensors"


def save_checkpoint(path: Path, model: Classifier, about: dict[str, Any]) -> None:
    """Write the model to `path` (``*.safetensors``) and its signature, checksum and `about` to the JSON beside it."""
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
    """Return the signature in the JSON beside a checkpoint's weights, once their checksum is found to be right.

    Raises:
        UserError: the JSON is missing or is no checkpoint's, or the weights are damaged.
    """
    beside = file.with_suffix(".json")
    content = read_json(beside)
    try:
        signature = Signature.model_validate(content["signature"])
        expected = str(content["sha256"])
    except (KeyError, TypeError):
        raise UserError(f"{beside} is not a checkpoint's JSON: train again, or name another") from None
    except ValidationError as error:
        raise UserError(sentence(error, Signature, str(beside))) from None
    if sha256_file(file) != expected:
        raise UserError(f"{file} is damaged (its checksum is not the one in {beside.name}): fetch it or train it again")
    return signature


def load_weights(model: torch.nn.Module, file: Path) -> None:
    """Load the weights in `file` into `model`, which must have exactly these names and shapes.

    Raises:
        UserError: the file is no safetensors file, or holds the weights of another architecture.
    """
    weights = read_weights(file)
    own = model.state_dict()
    for name in sorted(own.keys() ^ weights.keys()):
        raise UserError(
            f"{file} belongs to another architecture: {name} is only in {'the model' if name in own else 'the file'}"
        )
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
            raise UserError(f"{file} belongs to another architecture: {name} has shape {shapes}")
    model.load_state_dict(weights)


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors in a safetensors file by name, on the CPU.

    Raises:
        UserError: it is none.
    """
    try:
        return load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read as safetensors ({error}): fetch it or train it again") from None
