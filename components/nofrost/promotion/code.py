"""With which code a stage ran: the content address of each folder of the installed package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nofrost
from nofrost.store import Ref
from nofrost.store.tree import Entry, address, as_object

_IN_A_CHECKOUT = "components/nofrost"
_CACHE = "__pycache__"  # left out by .dvcignore too, with *.pyc


def code_refs() -> dict[str, Ref]:
    """Return the ref of each folder of the installed package, under the path that it has in a checkout.

    The refs are those that DVC finds for the same code in a checkout.
    """
    package = Path(nofrost.__file__).parent
    folders = sorted(path for path in package.iterdir() if path.is_dir() and path.name != _CACHE)
    return {f"{_IN_A_CHECKOUT}/{folder.name}": folder_ref(folder) for folder in folders}


def folder_ref(folder: Path) -> Ref:
    """Return the ref of a folder of code as .dvcignore lets DVC see it."""
    entries, size = [], 0
    for path in folder.rglob("*"):
        if path.is_file() and _CACHE not in path.parts and path.suffix != ".pyc":
            content = path.read_bytes()
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            entries.append(Entry(path.relative_to(folder).as_posix(), md5))
            size += len(content)
    return Ref(address(as_object(entries)), size, len(entries))
