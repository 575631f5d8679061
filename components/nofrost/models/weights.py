"""Pre-trained weights for a new model: of our own checkpoints, or of timm and torchvision as safetensors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from nofrost.errors import UserError
from nofrost.models.checkpoint import BEST, read_signature, read_weights
from nofrost.models.classifier import Classifier, Signature

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
Weights = dict[str, torch.Tensor]


def load_pretrained(model: Classifier, source: str | Path, new_head: bool = False) -> None:
    """Give the network inside `model` pre-trained weights, in place.

    Weights of plain batch norms go into both branches of a mixture. The input normaliser, mean and standard deviation
    of the training pixels, stays that of the model. Counts of the batches that a batch norm has seen may be absent.

    Args:
        model: of the weights' architecture and, but for a mixture, normaliser.
        source: a ``.safetensors`` file whose names are those of the network's layers (our checkpoints, timm,
            torchvision), or a folder that holds one, such as the output of a training, whose best is taken.
        new_head: the last layer keeps the values it has, for other classes.

    Raises:
        UserError: there are no such weights, they are damaged or pickled, or belong to another network; the sentence
            names the first layer that differs.
    """
    file = weights_file(Path(source))
    signature = read_signature(file) if file.with_suffix(".json").is_file() else None
    given = _of_network(read_weights(file))
    own, head = model.network.state_dict(), _head(model)
    if new_head and not head:
        raise UserError(f"arch {model.signature.arch!r} has no last layer that could start anew: leave out new_head")
    if new_head:
        given.update({name: own[name] for name in head})
    chosen, used = {}, set()
    for name, value in own.items():
        there = next((each for each in _names(name) if each in given), None)
        if there is not None:
            used.add(there)
            chosen[name] = given[there]
        elif name.endswith("num_batches_tracked"):
            chosen[name] = value
        else:
            raise _misfit(file, signature, model, f"{name!r} of the model is not in the file")
    if spare := sorted(given.keys() - used):
        raise _misfit(file, signature, model, f"{spare[0]!r} in the file is not in the model")
    for name, value in own.items():
        if value.shape != chosen[name].shape:
            shapes = f"{name!r} has shape {tuple(chosen[name].shape)} in the file and {tuple(value.shape)} in the model"
            if name in head:
                raise UserError(f"{file} is for other classes: {shapes}; set model.new_head to start that layer anew")
            raise _misfit(file, signature, model, shapes)
    model.network.load_state_dict(chosen)


def weights_file(source: Path) -> Path:
    """Return the file of pre-trained weights that `source` is or, a folder, holds.

    Raises:
        UserError: there is none, or a pickle.
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
    found = sorted(source.glob("*.safetensors"))
    if source / BEST in found:
        return source / BEST
    if len(found) != 1:
        raise UserError(
            f"{source} holds no {BEST} and {len(found)} other .safetensors files: name one of them, or the output "
            "folder of `nofrost train`"
        )
    return found[0]


def _of_network(weights: Weights) -> Weights:
    """Take the prefix of a `Classifier` off, and its input normaliser out."""
    if not any(name.startswith("network.") for name in weights):
        return weights
    return {name.removeprefix("network."): value for name, value in weights.items() if name not in ("mean", "std")}


def _names(name: str) -> list[str]:
    """Return what a value may be called in a file: its own name, or for a branch of a mixture that of the plain batch
    norm. timm's with an activation inside becomes the first of two layers in a mixture, hence the ``.0``."""
    plain = re.sub(r"\.(clean|adversarial)(\.\w+)$", r"\2", name)
    return [name, plain, re.sub(r"\.0(\.\w+)$", r"\1", plain)] if plain != name else [name]


def _head(model: Classifier) -> set[str]:
    last = model.network.get_classifier()  # type: ignore[operator]
    prefixes = tuple(f"{name}." for name, module in model.network.named_modules() if module is last)
    return {name for name in model.network.state_dict() if name.startswith(prefixes)}


def _misfit(file: Path, signature: Signature | None, model: Classifier, difference: str) -> UserError:
    mine = model.signature
    if signature is None:
        remedy = "name weights of that network, or set model.arch and model.normaliser to theirs"
    elif other := [
        name for name in ("arch", "normaliser", "affine") if getattr(signature, name) != getattr(mine, name)
    ]:
        settings = (f"model.{name} to {json.dumps(getattr(signature, name))}" for name in other)
        remedy = f"set {' and '.join(settings)}, as it was trained"
    else:
        height, width = signature.image_size
        remedy = f"prepare images as it was trained on, of {signature.channels} channels and {height} x {width} pixels"
    return UserError(f"{file} does not fit {mine.arch} with normaliser {mine.normaliser}: {difference}; {remedy}")
