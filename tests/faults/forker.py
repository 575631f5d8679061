"""Runs commands of nofrost in forks of one process that has loaded everything, and ends some at a chosen moment.

Reads lines of JSON from standard input: a list of jobs that run side by side. Writes for each list a line with, for
each job, seconds of all, exit code, standard error, output and number of changes to the disk. A job is a dictionary of

    arguments: of nofrost
    folder: changes to the disk count below it
    delay: seconds before it begins
    signal, at: send this signal to the process itself before its change to the disk of this number, from 1
"""

from __future__ import annotations

import builtins
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
from fork import become, load

from nofrost.models import checkpoint
from nofrost.train import trainer

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "open")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Changes:
    """Counts the changes to files below a folder, and ends the process before one of them."""

    def __init__(self, folder: str, at: int, number: int) -> None:
        self.folder, self.at, self.number, self.count = folder, at, number, 0

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and (event != "open" or (arguments[2] or 0) & WRITING) and self.is_below(arguments[0]):
            self.change()

    def is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        file = Path(os.fsdecode(path))
        # rmtree names files without their folder
        return not file.is_absolute() or file.is_relative_to(self.folder)

    def change(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), self.number)


class CountedFile(io.FileIO):
    """A file of which every write counts, and ends in the middle where the process is ended."""

    changes: Changes

    def write(self, content: Any) -> int:
        half = len(content) // 2
        super().write(memoryview(content)[:half])
        self.changes.change()
        return half + (super().write(memoryview(content)[half:]) or 0)


def count_writes(changes: Changes) -> None:
    """Count the writes of binary files, and let tensors be written as such files."""
    plain = io.open
    CountedFile.changes = changes

    def counted(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if mode not in ("wb", "xb") or isinstance(file, int) or not changes.is_below(file):
            return plain(file, mode, *rest, **named)
        return io.BufferedWriter(CountedFile(file, mode.replace("b", "")))

    def save_file(tensors: Any, path: Path) -> None:
        with counted(path, "wb") as file:
            file.write(safetensors.torch.save(tensors))

    builtins.open = io.open = counted  # type: ignore[assignment]
    checkpoint.save_file = save_file  # type: ignore[assignment]


def run(job: dict[str, Any], errors: Path) -> int:
    """Run a job in a fork and return its process id; what it says and counts is written to `errors`."""
    child = os.fork()
    if child == 0:
        become_job(job, errors)
    return child


def become_job(job: dict[str, Any], errors: Path) -> NoReturn:
    """Run the job and end this process as it ends."""
    time.sleep(job.get("delay", 0.0))
    descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(os.open(f"{errors}.output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    changes = Changes(job.get("folder", "/nowhere"), job.get("at", 0), job.get("signal", signal.SIGKILL))
    count_writes(changes)
    sys.addaudithook(changes.audit)

    def write_count() -> None:
        count, changes.at = changes.count, 0
        Path(f"{errors}.count").write_text(str(count))

    become(job["arguments"], write_count)


if __name__ == "__main__":
    load()
    scratch = Path(sys.argv[1])
    trainer.save_interval_s = lambda: 0.0
    for line in sys.stdin:
        jobs = json.loads(line)
        files = [scratch / f"errors-{number}" for number in range(len(jobs))]
        for file in files:
            Path(f"{file}.count").unlink(missing_ok=True)
        start = time.monotonic()
        children = [run(job, file) for job, file in zip(jobs, files, strict=True)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        seconds = time.monotonic() - start
        ends = []
        for code, file in zip(codes, files, strict=True):
            count = Path(f"{file}.count")
            changes = int(count.read_text()) if count.exists() else None
            ends.append([seconds, code, file.read_text(), Path(f"{file}.output").read_text(), changes])
        print(json.dumps(ends), flush=True)
