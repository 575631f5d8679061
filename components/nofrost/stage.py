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

from nofrost.errors import ReportedError, UserError, remark, shortened
from nofrost.files import (
    MARK,
    read_json,
    remove,
    replace_folder,
    restore_folder,
    work_path,
    write_json,
)
from nofrost.limits import whole_number
from nofrost.lock import folder_lock
from nofrost.stopping import TerminatedError, stop_requested
from nofrost.system_errors import explain_write_errors, refusal_to_write, system_error

# The folder inside the partial output for what only an unfinished run needs: it does not become part of the output.
UNFINISHED = "unfinished"
FINGERPRINT = f"{UNFINISHED}/fingerprint.json"
RECORD = "record.json"
_OF_A_STORE = "files/md5"  # where DVC and nofrost.store keep objects
# Inside the partial folder, which only the stage writes, these are bugs.
_BUGS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
SAVE_INTERVAL = "NOFROST_SAVE_INTERVAL_S"
# Shorter ones would spend the time on saving, longer ones are a mistake.
SAVE_INTERVALS_S = range(60, 24 * 3600 + 1)


def save_interval_s() -> float:
    """Return how many seconds of work a resumable stage may lose: those of NOFROST_SAVE_INTERVAL_S, otherwise 300.

    Raises:
        UserError: the variable is not a whole number from 60 to 86,400.
    """
    text = os.environ.get(SAVE_INTERVAL) or "300"
    seconds = whole_number(text)
    if seconds is None or seconds not in SAVE_INTERVALS_S:
        raise UserError(
            f"{SAVE_INTERVAL} is {shortened(text)}, which is not a whole number of seconds from 60 to 86400: correct "
            "it, or unset it for 300"
        )
    return float(seconds)


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
            if explained := _explained(error, out):
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


def _explained(error: BaseException, out: Path) -> UserError | None:
    refusal = None if isinstance(error, ReportedError) else system_error(error)
    if refusal is None or refusal.errno in _BUGS:
        return None
    return refusal_to_write(refusal, out, work_path(out, "").name)


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
    for path in inputs:
        if relation := overlap(target, path):
            relation = "is an input" if path == out else f"{relation} {path}"
            raise UserError(f"cannot write {out}: it {relation}, which is read here: choose another folder")


def overlap(path: Path, other: Path) -> str | None:
    """Return whether `path` "is", "holds" or "lies in" `other`, whatever links lead there; None if they are apart.

    `other` has to exist, `path` may be missing.
    """
    here, there = _identity(path), _identity(other)
    if there is None:
        return None
    if here == there:
        return "is"
    if here is not None and here in map(_identity, _real(other).parents):
        return "holds"
    return "lies in" if there in map(_identity, _real(path).parents) else None


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
    check_not_inside(out, target)
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
    outputs = (path.parent for path in sorted(target.rglob(RECORD)) if path.parent != target)
    stores = (path.parent.parent for path in sorted(target.rglob(_OF_A_STORE)))
    for what, inner in (("another output", next(outputs, None)), ("a store", next(stores, None))):
        if inner is not None:
            place = f"in {inner.relative_to(target)}" if inner != target else "itself"
            raise UserError(f"cannot write {out}: it holds {what} {place}: choose another folder, or move that one")


def check_not_inside(out: Path, target: Path) -> None:
    """Check that `target`, which is written as `out`, does not lie in an output of a stage.

    Raises:
        UserError: it does.
    """
    for folder in _real(target).parents:
        if (outer := recorded_stage(folder)) is not None:
            raise UserError(
                f"cannot write {out}: it lies in {folder}, an output of {outer}, which would lose it when it is made "
                "again: choose another folder"
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
    remark(f"what an earlier run saved in {partial} {reason}: it is deleted, and the work begins from scratch")
    return False
