"""What fetched content may replace."""

from __future__ import annotations

import os
from pathlib import Path

from nofrost.errors import UserError
from nofrost.stage import RECORD
from nofrost.store.local_file import LocalFile, files_below
from nofrost.store.ref import Ref
from nofrost.store.tree import Entry, address, as_object


def holds(path: Path, ref: Ref) -> bool:
    """Whether the file or folder at `path` has the content of `ref`."""
    try:
        if ref.is_dir and path.is_dir():
            entries = [Entry(relpath, source.md5) for relpath, source in files_below(path).items()]
            return address(as_object(entries)) == ref.md5
        return path.is_file() and LocalFile.of(path).md5 == ref.md5
    except UserError:  # it holds what no ref can stand for
        return False


def check_replaceable(path: Path) -> None:
    """Refuse to replace anything but an output of a stage or an empty folder.

    Raises:
        UserError: something else is there.
    """
    if not os.path.lexists(path) or (path.is_dir() and ((path / RECORD).is_file() or not any(path.iterdir()))):
        return
    raise UserError(f"{path} holds something else and is no output of a stage: remove it, or name another place")
