"""The faults that were found, a line each."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from nofrost.errors import UserError


class Faults:
    """Faults of what lies in a folder.

    Attributes:
        lines: one for each fault: the file, relative to the folder, and what is wrong with it.
        images: how many images were looked at.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[str] = []
        self.images = 0

    def add(self, path: Path, text: str) -> None:
        """Note a fault of the file or folder at `path`."""
        place = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        self.lines.append(text if place == "." else f"{place}: {text}")

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Note a UserError that the block raises as a fault of `path`, and go on after the block."""
        try:
            yield
        except UserError as error:
            text = str(error)
            for prefix in (f"{path}: ", f"{path} "):
                text = text.removeprefix(prefix)
            self.add(path, text.replace(f"{self.root}/", ""))


class RecordFaults:
    """Faults of the records of one shard, which become a line for each kind of fault and stretch of records."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, row: int, text: str) -> None:
        """Note a fault of the record of a row."""
        self._rows[text].append(row)

    def write(self, path: Path, faults: Faults) -> None:
        """Add them to the `faults` of the shard at `path`, in the order of the rows."""
        lines = []
        for text, rows in self._rows.items():
            for _, stretch in groupby(enumerate(sorted(rows)), lambda pair: pair[1] - pair[0]):
                numbers = [row for _, row in stretch]
                first, last = numbers[0], numbers[-1]
                where = f"record {first:09d}" if first == last else f"records {first:09d} to {last:09d}"
                lines.append((first, f"{where}: {text}"))
        for _, line in sorted(lines):
            faults.add(path, line)


def check_files(folder: Path, files: Collection[str], folders: Collection[str], faults: Faults) -> None:
    """Note a folder that is missing, and what is in it beside these files and folders.

    A file that is missing is noted by whoever reads it.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        faults.add(folder, "is missing")
        return
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}): check it") from None
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink() and not path.exists():
            faults.add(path, "is a link that leads nowhere")
        elif entry.name not in (*files, *folders):
            faults.add(path, "does not belong there")
        elif path.is_dir() != (entry.name in folders):
            faults.add(path, "is a folder" if path.is_dir() else "is not a folder")
