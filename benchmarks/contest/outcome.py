"""What one side's attack achieved on one model, measured once and kept."""

from __future__ import annotations

import ast
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

import nofrost.attacks
from contest.images import Batch
from contest.peers import Perturb, Task
from nofrost.attacks.norms import BALLS
from nofrost.files import read_json, write_json


@dataclass(frozen=True)
class Outcome:
    """Which images withstood an attack.

    Args:
        robust: one character per image: 1 for right on the clean and on the adversarial image, else 0.
        seconds: that the attack took.
        beyond: by how much the farthest point left the ball, before it was put back.
    """

    robust: str
    seconds: float
    beyond: float

    def flags(self) -> Tensor:
        """Return `robust` as [N] bool."""
        return torch.tensor([each == "1" for each in self.robust])

    def accuracy(self) -> float:
        """Return the share of images that withstood."""
        return self.robust.count("1") / len(self.robust)


def measure(perturb: Perturb, task: Task, batch: Batch, size: int) -> Outcome:
    """Attack the images that the model gets right, `size` at once, and judge every point inside the ball."""
    images, labels = batch
    with torch.no_grad():
        right = torch.cat([task.model(each).argmax(1) for each in images.split(size)]) == labels
    rows, seconds, beyond = right.nonzero().squeeze(1), 0.0, 0.0
    for part in rows.split(size):
        begin = time.perf_counter()
        points = perturb(images[part].clone(), labels[part].clone()).detach()
        seconds += time.perf_counter() - begin
        inside = BALLS[task.norm](images[part], task.eps).project(points)
        beyond = max(beyond, float((points - inside).abs().max()))
        with torch.no_grad():
            right[part] = task.model(inside).argmax(1) == labels[part]
    return Outcome("".join("01"[int(flag)] for flag in right), seconds, beyond)


def kept(folder: Path, name: str, made_by: str, compute: Callable[[], Outcome]) -> Outcome:
    """Return the outcome of this name; computed if it is not in `folder`, or was `made_by` something else."""
    file = folder / "outcomes" / (re.sub(r"[^a-z0-9-]+", "-", name.lower()) + ".json")
    if file.exists():
        content = read_json(file)
        if content.pop("made_by") == made_by:
            return Outcome(**content)
    outcome = compute()
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(outcome) | {"made_by": made_by})
    return outcome


@cache
def code_of_attacks() -> str:
    """Return a checksum of the code of our attacks, without comments and docstrings."""
    digest = hashlib.sha256()
    for file in sorted(Path(nofrost.attacks.__file__).parent.glob("*.py")):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if ast.get_docstring(node, clean=False) if isinstance(node, _DOCUMENTED) else None:
                del node.body[0]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
