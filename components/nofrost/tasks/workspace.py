"""The folder that a task works in, laid out like a checkout, and its ways from and to the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nofrost.store import Output, Store, open_store, pull, push


@dataclass(frozen=True)
class Workspace:
    """A temporary folder with the same paths as a checkout in which `dvc repro` runs (data/dataset, runs/...)."""

    folder: Path
    store: Store

    def pull(self, output: str) -> Path:
        """Bring an output from the store to its path in the workspace, and return where it is.

        Raises:
            UserError: the text is not an output, or the store does not hold it whole.
        """
        wanted = Output.parse(output)
        path = self.folder / wanted.path
        pull(wanted.ref, path, self.store)
        return path

    def push(self, path: str) -> str:
        """Push what lies at `path` in the workspace and return it as an output."""
        return str(Output(path, push(self.folder / path, self.store)))


@contextmanager
def workspace(store: str) -> Iterator[Workspace]:
    """Yield an empty workspace in the folder for temporary files (TMPDIR) that is gone at the end.

    Args:
        store: URL of the store, such as ``s3://bucket/prefix``.
    """
    with tempfile.TemporaryDirectory(prefix="nofrost-") as folder:
        yield Workspace(Path(folder), open_store(store))
