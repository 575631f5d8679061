"""The object that stands for a folder: a list of its files, as DVC writes it."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nofrost.errors import UserError, shortened
from nofrost.store.base import AlteredError, Store, too_large
from nofrost.store.ref import is_relative_posix

# Names that DVC never lists, at any depth. If pulled, they would change how git and DVC behave.
_NEVER_LISTED = frozenset((".dvc", ".git"))
# A list of a million files has about 100 MB.
_MOST_BYTES = 256 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Entry:
    """A file of a folder.

    Attributes:
        relpath: its path in the folder, with "/" between the parts.
        md5: of its content.
    """

    relpath: str
    md5: str


def as_object(entries: Iterable[Entry]) -> bytes:
    """Return the bytes of a folder's object, equal to those that DVC writes."""
    files = [{"md5": entry.md5, "relpath": entry.relpath} for entry in sorted(entries, key=lambda entry: entry.relpath)]
    return json.dumps(files).encode()


def address(content: bytes) -> str:
    """Return the address of the folder whose object is `content`."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest() + ".dir"


def read_entries(md5: str, store: Store) -> list[Entry]:
    """Return the files of a folder, as the object that lists them in the store says.

    Raises:
        UserError: it is missing, far larger than any list, altered, or not such a list.
    """
    return entries_of(read_object(md5, store, _MOST_BYTES), md5, store.url)


def read_object(md5: str, store: Store, limit: int) -> bytes:
    """Return an object of at most `limit` bytes; it is not verified.

    Raises:
        UserError: it is missing, or larger.
    """
    chunks, size = [], 0
    for chunk in store.read(md5):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise too_large(f"object {md5}", store.url, limit)
    return b"".join(chunks)


def entries_of(content: bytes, md5: str, url: str) -> list[Entry]:
    """Return the files that a folder's object lists.

    Args:
        content: the object.
        md5: its address.
        url: of the store that it comes from.

    Raises:
        UserError: its checksum is not its address, it is not a list of files, or it names a file outside the folder.
    """
    what = f"object {md5} in {url}"
    if address(content) != md5:
        raise AlteredError(f"{what} is altered or cut off: delete it, then push the folder again")
    try:
        entries = json.loads(content, object_pairs_hook=_entry)
        if not isinstance(entries, list) or not all(isinstance(entry, Entry) for entry in entries):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise UserError(f"{what} is not a list of files as DVC writes it: find out what wrote it") from None
    for entry in entries:
        _check(entry.relpath, entry.md5, what)
    # So that a folder comes right before what is in it.
    paths = sorted(entry.relpath.replace("/", "\0") for entry in entries)
    if any(path == earlier or path.startswith(f"{earlier}\0") for earlier, path in pairwise(paths)):
        raise UserError(f"{what} lists two files at one path: do not use it, and find out what wrote it")
    return entries


def _entry(items: list[tuple[str, Any]]) -> Entry:
    """Return the entry that an object of JSON stands for: at once, so that a wrong one ends the reading."""
    values = dict(items)
    return Entry(values["relpath"], values["md5"])


def _check(path: Any, md5: Any, what: str) -> None:
    if not isinstance(path, str) or not is_relative_posix(path) or _NEVER_LISTED & set(path.split("/")):
        raise UserError(f"{what} lists {shortened(path)}, which is not a path inside a folder: do not use it")
    if not isinstance(md5, str) or not _MD5.fullmatch(md5):
        raise UserError(f"{what} lists {shortened(path)} with {shortened(md5)}, which is not an md5: do not use it")
