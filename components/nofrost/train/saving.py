"""The saved state of a training on disk: whole after a kill at any moment, and read only if it is intact."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from nofrost.errors import UserError, remark
from nofrost.files import read_checked_json, remove, sha256_file, write_checked_json
from nofrost.models import Classifier, save_checkpoint, write_tensors
from nofrost.processes import ProcessGroup
from nofrost.train.records import State

# Names the other files of a save and their checksums; written after them, so that it never names half a file.
POINTER = "state.json"
BEST = ("best-*.safetensors", "best-*.json")


def save_best(folder: Path, name: str, model: Classifier, about: dict[str, Any]) -> dict[str, str]:
    """Save the best checkpoint so far and return the checksums of its files; the one before stays until the next save.

    Args:
        name: of the file with the weights.
    """
    save_checkpoint(folder / name, model, about)
    return {file.name: sha256_file(file) for file in (folder / name, (folder / name).with_suffix(".json"))}


def save_state(folder: Path, state: State, tensors: Mapping[str, Tensor]) -> None:
    """Save the state, and delete the one before and checkpoints that are no longer the best."""
    name = f"state-{state.epochs:05d}-{state.step:07d}.safetensors"
    write_tensors(folder / name, tensors)
    files = {name: sha256_file(folder / name), **state.best_files}
    write_checked_json(folder / POINTER, {"tensors": name, "files": files, "state": state.model_dump(mode="json")})
    for pattern in ("state-*.safetensors", *BEST):
        for path in folder.glob(pattern):
            if path.name not in files:
                path.unlink()


def discard_damaged(folder: Path) -> None:
    """Delete the saved state in `folder`, and say so, unless every file of it is as it was written."""
    if not (folder / POINTER).exists():
        return
    try:
        content, _ = _pointer(folder)
        for name, sha256 in content["files"].items():
            if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
                raise UserError(f"{folder / name} is missing or damaged")
    except UserError as error:
        remark(f"what was saved of this training cannot be used ({error}): it begins from scratch")
        remove(folder / POINTER)


def load_state(folder: Path, group: ProcessGroup) -> tuple[State, dict[str, Tensor]] | None:
    """Return, in every process, what was saved in `folder` of rank 0, which alone reads it; None if nothing was.

    A save that is damaged is deleted. That is said on standard error, and so is another world size than at the save.
    """
    saved = group.agree(lambda: _read_intact(folder) if group.is_rank_zero else None)
    content = group.broadcast(saved[0].model_dump(mode="json") if saved else None)
    if content is None:
        return None
    state = State.model_validate(content)
    if state.world_size != group.size and group.is_rank_zero:
        remark(
            f"this training was saved with a world size of {state.world_size} and continues with {group.size}: with "
            "the same images in the same order, but not to the same bits"
        )
    return state, group.broadcast_tensors(saved[1] if saved else {})


def _read_intact(folder: Path) -> tuple[State, dict[str, Tensor]] | None:
    discard_damaged(folder)
    if not (folder / POINTER).exists():
        return None
    content, state = _pointer(folder)
    return state, load_file(folder / content["tensors"])


def _pointer(folder: Path) -> tuple[dict[str, Any], State]:
    content = read_checked_json(folder / POINTER)
    another = UserError(f"{folder / POINTER} was saved by another version")
    if not isinstance(content, dict) or sorted(content) != ["files", "state", "tensors"]:
        raise another
    try:
        return content, State.model_validate(content["state"])
    except ValidationError:
        raise another from None
