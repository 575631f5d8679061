"""Runs commands of `nofrost`, each in a process of its own that need not load torch again.

Run as a script: it reads a try as JSON from each line of standard input, and writes its outcome as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

import torch
from fork import become, load


def main() -> None:
    """Load what commands need, then run each try in a fork."""
    load()
    torch.set_num_threads(1)
    for line in sys.stdin:
        started = time.monotonic()
        outcome = run(**json.loads(line))
        outcome["seconds"] = time.monotonic() - started
        print(json.dumps(outcome), flush=True)


def run(arguments: list[str], folder: str, largest_file: int | None = None) -> dict[str, Any]:
    """Return exit code, standard output and error of `nofrost ARGUMENTS` in `folder`."""
    # Pipes: a limit on the size of files would also hold for files that take the output.
    pipes = [os.pipe() for _ in range(2)]
    child = os.fork()
    if child == 0:
        for number, (_, writing) in enumerate(pipes, start=1):
            os.dup2(writing, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        os.chdir(folder)
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        become(arguments)
    texts = []
    for reading, writing in pipes:
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            texts.append(file.read().decode(errors="replace"))
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


if __name__ == "__main__":
    main()
