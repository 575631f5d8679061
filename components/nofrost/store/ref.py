"""Refs, which are content addresses, and outputs, which are refs with a path in a workspace."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from nofrost.errors import UserError

_MOST_CHARACTERS = 4096
MOST_LEVELS = 500
_REF = re.compile(r"(?P<md5>[0-9a-f]{32}(?:\.dir)?)(?::(?P<size>[0-9]{1,18})(?::(?P<nfiles>[0-9]{1,18}))?)?")


@dataclass(frozen=True)
class Ref:
    """The content address that DVC gives a file or a folder.

    Attributes:
        md5: 32 hexadecimal digits; followed by ".dir" for a folder.
        size: bytes of all files together, if known.
        nfiles: number of files of a folder, if known; None for a file.
    """

    md5: str
    size: int | None = None
    nfiles: int | None = None

    @property
    def is_dir(self) -> bool:
        return self.md5.endswith(".dir")

    def __str__(self) -> str:
        return ":".join(str(field) for field in (self.md5, self.size, self.nfiles) if field is not None)

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Return the ref in `text`, of the form md5[:size[:nfiles]].

        Raises:
            UserError: it is not a ref.
        """
        match = _REF.fullmatch(text)
        if not match or (match["nfiles"] and not match["md5"].endswith(".dir")):
            form = "32 hexadecimal digits, '.dir' for a folder, then perhaps :SIZE and for a folder :FILES"
            raise UserError(f"{text!r} is not a ref: write {form}, as `nofrost store push` prints it")
        size, nfiles = (None if match[key] is None else int(match[key]) for key in ("size", "nfiles"))
        return cls(match["md5"], size, nfiles)


@dataclass(frozen=True)
class Output:
    """A ref and the path of its content in a workspace.

    Attributes:
        path: relative, with "/" between its parts, such as "data/dataset".
        ref: the content.
    """

    path: str
    ref: Ref

    def __post_init__(self) -> None:
        if not is_relative_posix(self.path):
            raise UserError(f"{self.path!r} cannot be the path of an output: write a relative one, without '..'")

    def __str__(self) -> str:
        return f"{self.path}@{self.ref}"

    @classmethod
    def parse(cls, text: str) -> Output:
        """Return the output in `text`, of the form PATH@REF.

        Raises:
            UserError: it is not an output.
        """
        path, at, ref = text.rpartition("@")
        if not at:
            raise UserError(f"{text!r} is not an output: write PATH@REF, such as data/dataset@<md5>.dir:<size>:<files>")
        return cls(path, Ref.parse(ref))


def is_relative_posix(path: str) -> bool:
    """Return whether `path` is relative, normalised, inside the folder that it is relative to, and a possible name."""
    # No system has longer paths, and Python does not make folders that lie deeper.
    if len(path) > _MOST_CHARACTERS or path.count("/") >= MOST_LEVELS:
        return False
    parts = PurePosixPath(path).parts
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return bool(parts) and "/".join(parts) == path and ".." not in parts and parts[0] != "/" and "\0" not in path
