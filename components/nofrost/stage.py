"""The stage contract: an output folder that is written completely or not at all, with a record of how.

A stage is a function ``run(inputs, config, out) -> metrics``. It does its work inside :func:`stage_output`.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from nofrost.errors import ReportedError, UserError, remark
from nofrost.files import (
    MARK,
    read_json,
    remove,
    replace_folder,
    restore_folder,
    work_path,
    write_json,
)
from nofrost.lock import folder_lock
from nofrost.stopping import TerminatedError, stop_requested
from nofrost.system_errors import WRITE_ONLY, cannot_write, explain_write_errors, system_error

# The folder inside the partial output for what only an unfinished run needs: it does not become part of the output.
UNFINISHED = "unfinished"
FINGERPRINT = f"{UNFINISHED}/fingerprint.json"
RECORD = "record.json"
_PERMISSION = (errno.EACCES, errno.EPERM)
# In the path of an output these are mistakes of the user; inside the partial folder, which only the stage writes, they
# are bugs.
_PATH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@contextmanager
def stage_output(
    out: Path, *, stage: str, inputs: Iterable[Path], fingerprint: Mapping[str, Any], resumable: bool = False
) -> Iterator[Path]:
    """Yield a folder beside `out` (``.OUT.nofrost-partial``) that replaces `out` when the block ends without an error.

    Args:
        out: the folder that the stage writes. An earlier output of this stage stays untouched until the new one is
            whole; a folder that contains anything else is refused. Nobody else can write it meanwhile.
        stage: name of the stage, as its record has it.
        inputs: every file and folder that the stage reads.
        fingerprint: what the output depends on (configuration, input checksums, seed), as JSON values.
        resumable: keep the partial folder when the block fails or the process is killed, so that the next run with the
            same fingerprint continues from what was saved there. Without it every run starts with an empty folder.
            What is only of use to the next run belongs in the folder :data:`UNFINISHED` inside it.

    Raises:
        UserError: `out` cannot be replaced, another process writes it, or the disk refuses (full, read-only, no
            permission); the message names the folder and the remedy.
    """
    with explain_write_errors(out):
        target = target_of(out)
        check_apart(out, target, inputs)
    with ExitStack() as end, ExitStack() as stack:
        with explain_write_errors(out):
            stack.enter_context(folder_lock(target))
            restore_folder(target)
            check_replaceable(out, target, stage)
            partial, unfinished = work_path(target, "partial"), work_path(target, UNFINISHED)
            _restore_unfinished(unfinished, partial)
            _open_partial(partial, json.loads(json.dumps(dict(fingerprint), allow_nan=False)), resumable)
        try:
            yield partial
        except BaseException as error:
            if not resumable:
                with suppress(OSError):
                    remove(partial)
            elif isinstance(error, TerminatedError):
                error.saved = True
            refusal = None if isinstance(error, ReportedError) else system_error(error)
            if refusal is not None and refusal.errno not in _PATH:
                explained = disk_error(refusal, out)
                if explained is not refusal:
                    raise explained from error
            raise
        # From here on a request to stop comes too late: the result is whole.
        end.enter_context(stop_requested())
        with explain_write_errors(out):
            # Deleted last: until the output is in its place, a kill leaves all that the next run needs.
            (partial / UNFINISHED).rename(unfinished)
            replace_folder(partial, target)
            remove(unfinished)
            # A pull that was killed may have left this.
            remove(work_path(target, "pull"))


def check_output(out: Path, *, stage: str, inputs: Iterable[Path]) -> None:
    """Check that :func:`stage_output` would write `out`; for a stage that first has long work to do.

    Raises:
        UserError: it would not.
    """
    with explain_write_errors(out):
        target = target_of(out)
        check_apart(out, target, inputs)
        check_replaceable(out, target, stage)


def disk_error(error: OSError, out: Path) -> Exception:
    """Return a UserError if `error` means that `out` cannot be written, otherwise `error` itself.

    An error that names a file counts only if the file belongs to `out`, and not if it is, say, an unreadable input.
    """
    if error.errno not in (*WRITE_ONLY, *_PERMISSION, *_PATH, errno.EIO, errno.ENAMETOOLONG):
        return error
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    folders = (out.absolute(), _real(out))
    is_about_out = any(_belongs_to(name.absolute(), folder) for name in names for folder in folders)
    if not names:
        is_about_out = error.errno in WRITE_ONLY
    return cannot_write(error, out) if is_about_out else error


def _belongs_to(path: Path, out: Path) -> bool:
    """Whether `path` is `out` or something that belongs to writing it, inside one, or a folder above it."""
    beside = path.is_relative_to(out.parent) and path.relative_to(out.parent).parts[:1]
    first = beside[0] if beside else ""
    return out.is_relative_to(path) or first == out.name or first.startswith(work_path(out, "").name)


def _real(path: Path) -> Path:
    # Unlike `resolve`, this does not raise an error for circular links.
    return Path(os.path.realpath(path))


def target_of(out: Path) -> Path:
    """Return the path that `out` is or links to."""
    target = _real(out) if out.is_symlink() or out.name in ("", "..") else out
    if not target.name:
        raise UserError(f"cannot write {out}: it is the root of the file system: choose a folder inside it")
    return target


def check_apart(out: Path, target: Path, inputs: Iterable[Path]) -> None:
    """Check that writing `target` leaves every input as it is.

    Raises:
        UserError: `target` is an input, holds one, or lies in one.
    """
    here, above = _identity(target), [_identity(folder) for folder in _real(target).parents]
    for path in inputs:
        if (there := _identity(path)) is None:
            continue
        above_there = [_identity(folder) for folder in _real(path).parents]
        if here == there:
            relation = f"is {path}" if path != out else "is an input"
        elif here is not None and here in above_there:
            relation = f"holds {path}"
        elif there in above:
            relation = f"lies in {path}"
        else:
            continue
        raise UserError(f"cannot write {out}: it {relation}, which is read here: choose another folder")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what is equal for two paths of the same file or folder; None where nothing is."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def recorded_stage(folder: Path) -> str | None:
    """Return the stage whose output `folder` is; None where its record says nothing of the kind."""
    try:
        record = read_json(folder / RECORD)
    except UserError:
        return None
    is_ours = isinstance(record, dict) and isinstance(record.get("stage"), str) and "nofrost" in record
    return str(record["stage"]) if is_ours else None


def check_replaceable(out: Path, target: Path, stage: str | None) -> None:
    """Check that `target` is missing, empty, or holds nothing but an output of `stage`, of any stage if that is None.

    Raises:
        UserError: it is something else.
    """
    for folder in _real(target).parents:
        if (outer := recorded_stage(folder)) is not None:
            raise UserError(
                f"cannot write {out}: it lies in {folder}, an output of {outer}, which would lose it when it is made "
                "again: choose another folder"
            )
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"cannot write {out}: it is a file: choose another folder, or remove it")
    if target.is_mount() or _real(target) == Path.cwd():
        what = "a mount point" if target.is_mount() else "the current folder"
        raise UserError(f"cannot write {out}: it is {what}, which cannot be replaced: choose a folder inside it")
    if not os.access(target, os.W_OK):
        raise UserError(f"cannot write {out}: it is protected from writing: allow it, or choose another folder")
    first = next((path.name for path in sorted(target.iterdir())), None)
    if first is None:
        return
    earlier = recorded_stage(target)
    if earlier is None:
        is_damaged = f" (its {RECORD} is damaged)" if (target / RECORD).exists() else ""
        raise UserError(
            f"cannot write {out}: it contains {first!r} and was not created by a stage{is_damaged}: choose another "
            "folder, or remove it"
        )
    if stage not in (earlier, None):
        raise UserError(
            f"cannot write {out}: it is an output of {earlier}, and {stage} would replace it: choose another folder, "
            "or remove it"
        )
    inner = next((path.parent for path in sorted(target.rglob(RECORD)) if path.parent != target), None)
    if inner is not None:
        raise UserError(
            f"cannot write {out}: it holds another output in {inner.relative_to(target)}: choose another folder, or "
            "move that one"
        )


def _restore_unfinished(unfinished: Path, partial: Path) -> None:
    """Undo the first step of putting an output in its place, whose process was killed; clean up after the last."""
    if partial.is_dir() and unfinished.is_dir() and not (partial / UNFINISHED).exists():
        unfinished.rename(partial / UNFINISHED)
    remove(unfinished)


def _open_partial(partial: Path, fingerprint: dict[str, Any], resumable: bool) -> None:
    if partial.exists() and not (resumable and _same_fingerprint(partial, fingerprint)):
        remove(partial)
    (partial / UNFINISHED).mkdir(parents=True, exist_ok=True)
    # Temporary files of a process that was killed in `atomic_path` do not belong to the output.
    for unfinished in partial.rglob(f".*{MARK}tmp*"):
        unfinished.unlink()
    write_json(partial / FINGERPRINT, fingerprint)


def _same_fingerprint(partial: Path, fingerprint: dict[str, Any]) -> bool:
    """Return whether what is in the partial folder belongs to this work; otherwise say that it is lost."""
    try:
        if read_json(partial / FINGERPRINT) == fingerprint:
            return True
        reason = "belongs to another configuration, or to other inputs"
    except UserError:
        reason = "is damaged"
    remark(f"what an earlier run saved in {partial} {reason}: it is deleted, and the work begins anew")
    return False
