"""How tests start the processes of one training, and the recipe that they train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import torch
from safetensors.torch import load_file

from pipelines.local_nodes import free_port
from tests.child_process import running

TINY: dict[str, Any] = {
    "title": "Tiny",
    "citation": "own",
    "model": {"arch": "resnet8", "normaliser": "gn", "groups": 4},
    "objective": {"name": "sat"},
    "threat": {"norm": "l2", "eps": 0.5},
    "attack": {"name": "pgd", "steps": 1},
    "views": {"crop_padding": 1},
    "optimiser": {"lr": 0.05, "weight_decay": 1e-4, "averaging": {"decay": 0.9}},
    "schedule": {"epochs": 1, "batch_size": 40},
    "selection": {"attack": {"name": "pgd", "steps": 1}},
}


def two(*arguments: str | Path, cwd: Path | None = None) -> AbstractContextManager[list[subprocess.Popen[str]]]:
    """Run python with these arguments twice; see :func:`several`."""
    return several([cwd, cwd], *arguments)


@contextmanager
def several(folders: Sequence[Path | None], *arguments: str | Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Run python with these arguments in each of the folders, as torchrun does, on the CPU; all end with the block."""
    port = str(free_port())
    shared = {"MASTER_ADDR": "127.0.0.1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        started = []
        for rank, folder in enumerate(folders):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(folders)), "MASTER_PORT": port}
            command = [sys.executable, *map(str, arguments)]
            process = running(
                command, env={**os.environ, **place, **shared}, cwd=folder, stdout=PIPE, stderr=PIPE, text=True
            )
            started.append(stack.enter_context(process))
        yield started


def ends(processes: list[subprocess.Popen[str]], timeout_s: float = 240) -> list[tuple[int, str, str]]:
    """Return exit code, output and errors of each process."""
    outputs = [process.communicate(timeout=timeout_s) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, outputs, strict=True)]


def tensors(out: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(out / f"{name}.safetensors")


def read(path: Path) -> Any:
    return json.loads(path.read_text())
