"""Counts the changes that a process makes to the disk, and sends it a signal before one of them."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch

from nofrost.models import checkpoint

EVENTS = ("os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "open")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Changes:
    """The changes to files below `folder`.

    Before that of number `at`, from 1, the process gets the first of the signals; the next one before the next change,
    such as one of cleaning up.

    Attributes:
        count: of the changes until now.
        uncounted: files that were opened for writing in a way whose writes are not counted.
    """

    def __init__(self, folder: str, at: int, signals: Sequence[int]) -> None:
        self.folder, self.at, self.signals, self.count = folder, at, signals, 0
        self.uncounted: list[str] = []
        self.is_opening = False

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not self.is_below(arguments[0]):
            return
        if event == "open":
            _, mode, flags = arguments
            if not (flags or 0) & WRITING:
                return
            # `os.open`, which has no mode, is for locks.
            if mode is not None and not self.is_opening:
                self.uncounted.append(os.fsdecode(arguments[0]))
        self.change()

    def is_below(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        file = Path(os.fsdecode(path))
        # rmtree names files without their folder
        return not file.is_absolute() or file.is_relative_to(self.folder)

    def change(self) -> None:
        self.count += 1
        number = self.count - self.at
        if self.at and 0 <= number < len(self.signals):
            os.kill(os.getpid(), self.signals[number])


class CountedFile(io.FileIO):
    """A file of which every write counts, and ends in the middle where the process is ended."""

    changes: Changes

    def __init__(self, file: Any, mode: str) -> None:
        self.changes.is_opening = True
        try:
            super().__init__(file, mode)
        finally:
            self.changes.is_opening = False

    def write(self, content: Any) -> int:
        half = len(content) // 2
        super().write(memoryview(content)[:half])
        self.changes.change()
        return half + (super().write(memoryview(content)[half:]) or 0)


def counted(folder: str, at: int, signals: Sequence[int]) -> Changes:
    """Count all changes from now on; what writes in C or in the kernel (tensors, copies) writes as Python does."""
    changes = CountedFile.changes = Changes(folder, at, signals)
    plain = io.open

    def open_counted(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if mode not in ("wb", "xb") or isinstance(file, int) or not changes.is_below(file):
            return plain(file, mode, *rest, **named)
        return io.BufferedWriter(CountedFile(file, mode.replace("b", "")))

    def save_file(tensors: Any, path: Path) -> None:
        with open_counted(path, "wb") as file:
            file.write(safetensors.torch.save(tensors))

    builtins.open = io.open = open_counted  # type: ignore[assignment]
    checkpoint.save_file = save_file  # type: ignore[assignment]
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    sys.addaudithook(changes.audit)
    return changes
