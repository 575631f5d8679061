"""The state of a training that a kill must not lose: written whole, read back to go on bit for bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from nofrost.files import read_json, write_bytes, write_json
from nofrost.models import Classifier

POINTER = "state.json"


@dataclass
class State:
    """Where a training stands: `epoch` and `step` to do next, sums of the current epoch, and what was measured.

    `sums` holds loss and right answers of the epoch so far; `best` the epoch, score and measurements of the best
    checkpoint so far (its weights lie in ``best-<epoch>.safetensors``).
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)


def save_state(folder: Path, state: State, model: Classifier, optimiser: torch.optim.SGD) -> None:
    """Write weights and momentum, then point at them, then delete what was pointed at before."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        buffer = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{name}"] = buffer
    file = f"state-{state.epoch:05d}-{state.step:07d}.safetensors"
    write_bytes(folder / file, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    write_json(folder / POINTER, {"file": file, "state": asdict(state)})
    keep = {file, f"best-{state.best.get('epoch', 0):05d}.safetensors", f"best-{state.best.get('epoch', 0):05d}.json"}
    for pattern in ("state-*.safetensors", "best-*"):
        for old in folder.glob(pattern):
            if old.name not in keep:
                old.unlink()


def load_state(folder: Path, model: Classifier, optimiser: torch.optim.SGD) -> State | None:
    """Put weights and momentum of the saved state, if there is one, into model and optimiser, and return the rest."""
    if not (folder / POINTER).is_file():
        return None
    content = read_json(folder / POINTER)
    tensors = load_file(folder / content["file"])
    model.load_state_dict(
        {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in model.named_parameters():
        if f"momentum.{name}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"].to(parameter.device)
    return State(**content["state"])


def remove_state(folder: Path) -> None:
    """Delete the state of a training that is finished."""
    for old in [folder / POINTER, *folder.glob("state-*.safetensors")]:
        old.unlink(missing_ok=True)
