"""The state of a training that a kill must not lose: written whole, read back to go on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from nofrost.files import read_json, write_json
from nofrost.models import write_tensors

POINTER = "state.json"


@dataclass
class State:
    """Where a training stands.

    Attributes:
        phase: its number, from 0.
        epoch: epochs of the phase that are done.
        step: steps of the next epoch that are done.
        seconds: spent so far, by all runs of the training together.
        sums: of loss and right answers in the epoch so far, over all processes.
        curves: a row for each finished epoch of all phases.
        best: epoch, phase, score and measurements of the best checkpoint so far; its weights lie in
            ``best-<epoch>.safetensors``.
        steps: what one step of each phase did, by the phase's name.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Finished epochs of all phases."""
        return len(self.curves)

    @property
    def best_checkpoint(self) -> str | None:
        """Name of the file with the best weights so far, None while there are none."""
        return f"best-{self.best['epoch']:05d}.safetensors" if self.best else None


def save_state(folder: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors of the training, then point at them, then delete what was pointed at before."""
    file = f"state-{state.epochs:05d}-{state.step:07d}.safetensors"
    write_tensors(folder / file, tensors)
    write_json(folder / POINTER, {"file": file, "state": asdict(state)})
    best = state.best_checkpoint
    keep = {file} | ({best, str(Path(best).with_suffix(".json"))} if best else set())
    for pattern in ("state-*.safetensors", "best-*"):
        for old in folder.glob(pattern):
            if old.name not in keep:
                old.unlink()


def load_state(folder: Path) -> tuple[State, dict[str, Tensor]] | None:
    """Return the saved state and its tensors, on the CPU; None when nothing was saved."""
    if not (folder / POINTER).is_file():
        return None
    content = read_json(folder / POINTER)
    return State(**content["state"]), load_file(folder / content["file"])


def remove_state(folder: Path) -> None:
    """Delete the state of a training that is finished."""
    for old in [folder / POINTER, *folder.glob("state-*.safetensors")]:
        old.unlink(missing_ok=True)
