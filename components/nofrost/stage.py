"""The stage contract: an output folder that appears whole or not at all, and a record of how it was made.

A stage is a function ``run(inputs, config, out) -> metrics``. It does its work inside :func:`stage_output`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nofrost.errors import UserError
from nofrost.files import read_json, write_json

FINGERPRINT = "fingerprint.json"
RECORD = "record.json"
_REMEDIES = {
    errno.ENOSPC: "no space is left on the device: free some, or name another output folder",
    errno.EDQUOT: "the disk quota is used up: free some space, or name another output folder",
    errno.EFBIG: "the file grew larger than this system allows: raise the limit (ulimit -f), or name another folder",
    errno.EROFS: "the file system is read-only: name an output folder that can be written",
    errno.EACCES: "permission is denied: name an output folder that can be written",
    errno.EPERM: "permission is denied: name an output folder that can be written",
    errno.ENOTDIR: "a part of the path is a file, not a folder: name another output folder",
    errno.EISDIR: "a folder stands where the file should be: name another file",
    errno.EEXIST: "a file stands where the folder should be: name another output folder",
}
# A failed write, unlike a failed open, does not say which file it was about: these can only be about writing.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_OF_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # inside the partial folder, which is ours, these are bugs

_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # all that numpy says of a full disk


@contextmanager
def stage_output(out: Path, *, fingerprint: Mapping[str, Any], resumable: bool = False) -> Iterator[Path]:
    """Yield a folder beside `out` (``<out>.partial``) that takes the place of `out` when the block ends well.

    Args:
        out: the folder the stage is to make. An earlier output stays untouched until the new one is whole; a folder
            that holds anything else is refused.
        fingerprint: what the output depends on (configuration, input checksums, seed), as JSON values.
        resumable: keep the partial folder when the block fails or the process is killed, so that the next run with the
            same fingerprint goes on from what was saved there. Without it every run starts with an empty folder.

    Raises:
        UserError: `out` cannot be replaced, or the disk refuses (full, read-only, no permission); the sentence names
            the folder and the remedy.
    """
    target = _replaceable(out)
    partial = _partial(target)
    try:
        _bring_back(target)
        _open_partial(partial, json.loads(json.dumps(dict(fingerprint), allow_nan=False)), resumable)
    except OSError as error:
        raise cannot_write(error, out) from error
    try:
        yield partial
    except BaseException as error:
        if not resumable:
            with suppress(OSError):
                _remove(partial)
        if isinstance(error, OSError) and error.errno not in _OF_PLACE:
            told = disk_error(error, out)
            if told is not error:
                raise told from error
        raise
    try:
        _replace(partial, target)
    except OSError as error:
        raise cannot_write(error, out) from error


def disk_error(error: OSError, out: Path) -> Exception:
    """Return the one-sentence form of a disk's refusal to write `out`, or `error` itself when it is anything else.

    An error that names a file is about `out` only when the file belongs to it: an input that must not be read, or is
    not there, is another matter.
    """
    if error.errno is None and _SHORT_WRITE.search(str(error)):
        return UserError(f"cannot write {out}: the device took a part of a file only: free some space there")
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    ours = any(_belongs_to(name.absolute(), place) for name in named for place in (out.absolute(), _real(out)))
    about_writing = ours if named else error.errno in _OF_WRITING
    return cannot_write(error, out) if about_writing and error.errno in _REMEDIES else error


def cannot_write(error: OSError, out: Path) -> UserError:
    """Return the one sentence for an error that came from writing `out` and from nothing else."""
    reason = str(error.strerror or error)
    remedy = _REMEDIES.get(error.errno or 0, f"{reason[:1].lower()}{reason[1:]}: name another place for it")
    return UserError(f"cannot write {out}: {remedy}")


def record(
    stage: str, *, config: Any, inputs: Mapping[str, str], seeds: Mapping[str, int], libraries: tuple[str, ...]
) -> dict[str, Any]:
    """Return what `out/record.json` holds: how an output was made.

    It holds nothing that differs between two places doing the same work (no time, host name or absolute path), so
    that equal work gives equal bytes and DVC and Kubeflow agree on its content address.

    Args:
        stage: name of the stage.
        config: the configuration, as JSON values.
        inputs: name of each input and its checksum.
        seeds: name of each seed.
        libraries: distributions whose versions decide the result.
    """
    return {
        "stage": stage,
        "nofrost": version("nofrost"),
        "config": config,
        "inputs": dict(inputs),
        "seeds": dict(seeds),
        "libraries": {name: version(name) for name in libraries},
    }


def _belongs_to(path: Path, out: Path) -> bool:
    """Whether `path` is `out`, its partial folder or temporary file, inside one, or a folder that must hold it."""
    beside = path.is_relative_to(out.parent) and path.relative_to(out.parent).parts[:1]
    first = beside[0] if beside else ""
    return out.is_relative_to(path) or first in (out.name, _partial(out).name) or first.startswith(f".{out.name}.")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike `resolve`, no error for links in a circle


def _replaceable(out: Path) -> Path:
    """Return the folder that `out` is or links to. Replacing deletes what was there: only an output of a stage, or
    nothing, may be lost that way."""
    try:
        target = _real(out) if out.is_symlink() or out.name in ("", "..") else out
        if not target.name:
            raise UserError(f"cannot write {out}: it is the root of the file system: name a folder inside it")
        if not target.exists():
            return target
        if not target.is_dir():
            raise UserError(f"cannot write {out}: {_REMEDIES[errno.EEXIST]}")
        if target.is_mount() or _real(target) == Path.cwd():
            what = "a mount point" if target.is_mount() else "the current folder"
            raise UserError(f"cannot write {out}: it is {what}, which cannot be replaced: name a folder inside it")
        other = next((path.name for path in sorted(target.iterdir())), None)
        if other is not None and not (target / RECORD).is_file():
            raise UserError(f"cannot write {out}: it holds {other!r} and is no output of a stage: name another folder")
        return target
    except OSError as error:
        raise cannot_write(error, out) from error


def _bring_back(out: Path) -> None:
    """Mend what a kill inside :func:`_replace` left: the earlier output moved away, or not yet deleted."""
    earlier = _earlier(out)
    if earlier.exists() and not out.exists():
        earlier.rename(out)
    _remove(earlier)


def _open_partial(partial: Path, fingerprint: dict[str, Any], resumable: bool) -> None:
    if not resumable or not _same_fingerprint(partial / FINGERPRINT, fingerprint):
        _remove(partial)
    partial.mkdir(parents=True, exist_ok=True)
    for unfinished in partial.rglob(".*.tmp"):  # of a kill inside `atomic_file`: no part of the output
        unfinished.unlink()
    write_json(partial / FINGERPRINT, fingerprint)


def _same_fingerprint(path: Path, fingerprint: dict[str, Any]) -> bool:
    try:
        return bool(read_json(path) == fingerprint)
    except UserError:
        return False


def _replace(partial: Path, out: Path) -> None:
    earlier = _earlier(out)
    if out.exists():
        out.rename(earlier)
    try:
        (partial / FINGERPRINT).unlink(missing_ok=True)
        partial.rename(out)
    except BaseException:
        _bring_back(out)
        raise
    with suppress(OSError):  # the new output is whole; what is left of the old one goes with the next run
        _remove(earlier)


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _earlier(out: Path) -> Path:
    return out.with_name(out.name + ".earlier")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
