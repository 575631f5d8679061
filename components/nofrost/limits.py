"""Limits for what comes from outside: which files are opened, how far compressed ones may expand, what is a number."""

import re
import stat
from pathlib import Path

from nofrost.errors import UserError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FREE_BYTES = 1 << 30  # a content up to this size is never suspicious
_LARGEST_RATIO = 100  # of content to compressed bytes: pictures are far below it, files made to fill memory above


def regular_file(path: Path) -> Path:
    """Return `path` unless it is a pipe, socket or device, which would be read without an end.

    Call it where a file is opened: ``regular_file(path).open("rb")``. A path that is missing, or a folder, is returned
    too, so that opening it raises the usual error.

    Raises:
        UserError: it is one of them, or links to one.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return path
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise UserError(f"{path} is {kind}, not a regular file: remove it, or name another file")
    return path


def check_expansion(size: int, compressed: int, what: str) -> None:
    """Check that a content of `size` bytes, made from `compressed` ones, is not made to fill memory or time.

    Args:
        what: which file or part of it, for the error.

    Raises:
        UserError: it has more than 1 GiB and a hundred times the bytes that it is made from.
    """
    if size > _FREE_BYTES and size > _LARGEST_RATIO * compressed:
        raise UserError(
            f"{what} would expand from {compressed:,} bytes to {size:,}, which no images do: remove or replace it"
        )


def byte_count(text: str) -> int | None:
    """Return the bytes that a text such as ``200GiB``, ``1.5T``, ``64Gi`` or ``1000000`` means; None for any other."""
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,6})?) ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        return None
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))


def whole_number(text: str) -> int | None:
    """Return the whole number that a text consists of, from 0 to 999,999,999; None if it is anything else."""
    # `int` would take " 1", "1_0" and digits of other scripts as well.
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
