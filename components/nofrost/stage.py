"""The stage contract: an output folder that is written completely or not at all, with a record of how.

A stage is a function ``run(inputs, config, out) -> metrics``. It does its work inside :func:`stage_output`.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nofrost.errors import UserError
from nofrost.files import (
    cannot_write,
    explain_write_errors,
    read_json,
    remove,
    replace_folder,
    restore_folder,
    write_json,
)

FINGERPRINT = "fingerprint.json"
RECORD = "record.json"
# A failed write, unlike a failed open, does not name its file: these errors can only come from writing.
_WRITE_ONLY = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PERMISSION = (errno.EACCES, errno.EPERM)
# In the path of an output these are mistakes of the user; inside the partial folder, which only the stage writes, they
# are bugs.
_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
# numpy reports a full disk as a plain OSError with this text and no error number.
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")


@contextmanager
def stage_output(out: Path, *, fingerprint: Mapping[str, Any], resumable: bool = False) -> Iterator[Path]:
    """Yield a folder beside `out` (``<out>.partial``) that replaces `out` when the block ends without an error.

    Args:
        out: the folder that the stage writes. An earlier output stays untouched until the new one is whole; a folder
            that contains anything else is refused.
        fingerprint: what the output depends on (configuration, input checksums, seed), as JSON values.
        resumable: keep the partial folder when the block fails or the process is killed, so that the next run with the
            same fingerprint continues from what was saved there. Without it every run starts with an empty folder.

    Raises:
        UserError: `out` cannot be replaced, or the disk refuses (full, read-only, no permission); the message names
            the folder and the remedy.
    """
    with explain_write_errors(out):
        target = _replaceable(out)
        partial = _partial(target)
        restore_folder(target)
        _open_partial(partial, json.loads(json.dumps(dict(fingerprint), allow_nan=False)), resumable)
    try:
        yield partial
    except BaseException as error:
        if not resumable:
            with suppress(OSError):
                remove(partial)
        if isinstance(error, OSError) and error.errno not in _PATH:
            explained = disk_error(error, out)
            if explained is not error:
                raise explained from error
        raise
    with explain_write_errors(out):
        (partial / FINGERPRINT).unlink(missing_ok=True)
        replace_folder(partial, target)


def disk_error(error: OSError, out: Path) -> Exception:
    """Return a UserError if `error` means that `out` cannot be written, otherwise `error` itself.

    An error that names a file counts only if the file belongs to `out`, and not if it is, say, an unreadable input.
    """
    if error.errno is None and _SHORT_WRITE.search(str(error)):
        return cannot_write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), out)
    if error.errno not in (*_WRITE_ONLY, *_PERMISSION, *_PATH):
        return error
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    folders = (out.absolute(), _real(out))
    is_about_out = any(_belongs_to(name.absolute(), folder) for name in names for folder in folders)
    if not names:
        is_about_out = error.errno in _WRITE_ONLY
    return cannot_write(error, out) if is_about_out else error


def _belongs_to(path: Path, out: Path) -> bool:
    """Whether `path` is `out`, its partial folder or temporary file, inside one, or a folder above it."""
    beside = path.is_relative_to(out.parent) and path.relative_to(out.parent).parts[:1]
    first = beside[0] if beside else ""
    return out.is_relative_to(path) or first in (out.name, _partial(out).name) or first.startswith(f".{out.name}.")


def _real(path: Path) -> Path:
    # Unlike `resolve`, this does not raise an error for circular links.
    return Path(os.path.realpath(path))


def _replaceable(out: Path) -> Path:
    """Return the folder that `out` is or links to, after checking that it holds nothing but an output of a stage."""
    target = _real(out) if out.is_symlink() or out.name in ("", "..") else out
    if not target.name:
        raise UserError(f"cannot write {out}: it is the root of the file system: choose a folder inside it")
    if not target.exists():
        return target
    if not target.is_dir():
        raise UserError(f"cannot write {out}: it is a file: choose another output folder")
    if target.is_mount() or _real(target) == Path.cwd():
        what = "a mount point" if target.is_mount() else "the current folder"
        raise UserError(f"cannot write {out}: it is {what}, which cannot be replaced: choose a folder inside it")
    first = next((path.name for path in sorted(target.iterdir())), None)
    if first is not None and not (target / RECORD).is_file():
        raise UserError(
            f"cannot write {out}: it contains {first!r} and was not created by a stage: choose another folder"
        )
    return target


def _open_partial(partial: Path, fingerprint: dict[str, Any], resumable: bool) -> None:
    if not resumable or not _same_fingerprint(partial / FINGERPRINT, fingerprint):
        remove(partial)
    partial.mkdir(parents=True, exist_ok=True)
    # Temporary files of a process that was killed in `atomic_file` do not belong to the output.
    for unfinished in partial.rglob(".*.tmp"):
        unfinished.unlink()
    write_json(partial / FINGERPRINT, fingerprint)


def _same_fingerprint(path: Path, fingerprint: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == fingerprint)
    except UserError:
        return False


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")
