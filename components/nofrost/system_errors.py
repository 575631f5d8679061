"""What the operating system refuses (a full disk, a file that cannot be read, no more memory) as one sentence."""

import errno
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nofrost.errors import ReportedError, UserError, reason

FULL = (errno.ENOSPC, errno.EDQUOT)
# A failed write, unlike a failed open, does not name its file: these errors can only come from writing.
WRITE_ONLY = (*FULL, errno.EFBIG, errno.EROFS)
_PERMISSION = (errno.EACCES, errno.EPERM)
# In the path of an output these are mistakes of the user.
_OF_PATHS = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_REMEDIES = {
    **dict.fromkeys(FULL, "free some space, or choose another place"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another place",
    errno.EIO: "check the disk, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit on open files (ulimit -n)"),
    **dict.fromkeys((errno.EROFS, *_PERMISSION), "choose a place that can be written"),
    errno.ENOMEM: "use a machine with more memory",
}
_READ_REMEDIES = {
    **dict.fromkeys(_PERMISSION, "check its permissions"),
    **{number: _REMEDIES[number] for number in (errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ENOMEM)},
}
# What another machine, or the same one later, may not refuse.
_OF_MACHINE = (*FULL, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# What is reported wherever it comes from: a missing file or a refused connection may as well come from a bug.
_NO_BUGS = tuple(_REMEDIES)
# How tempfile begins when every folder for temporary files refuses, as a FileNotFoundError.
_NO_TEMPORARY = "No usable temporary directory"
# numpy reports a full disk as a plain OSError with this text and no error number.
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
# How shutil (for several files), libraries in Rust, such as safetensors, and torch state the system's error number.
_NUMBER = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)|unable to open file .* \((\d+)\)")


def system_error(error: BaseException) -> OSError | None:
    """Return the operating system's error, with its number, that `error` is or reports; None for all other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if isinstance(error, OSError) and _SHORT_WRITE.search(str(error)):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if isinstance(error, Exception) and (match := _NUMBER.search(str(error))):
        number = int(next(filter(None, match.groups())))
        return OSError(number, os.strerror(number))
    return None


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError; for code that writes `path` and nothing else."""
    try:
        yield
    except ReportedError:
        raise
    except Exception as error:
        refusal = system_error(error)
        if refusal is None:
            raise
        raise cannot_write(refusal, path) from error


def cannot_write(error: OSError, path: Path) -> UserError:
    """Return the UserError for an error that came from writing `path`: the system's reason and a remedy."""
    remedy = _REMEDIES.get(error.errno or 0, "choose another place")
    return UserError(f"cannot write {path}: {_words(error)}: {remedy}")


def refusal_to_write(error: OSError, out: Path, beside: str) -> UserError | None:
    """Return the UserError if `error` means that the output `out` cannot be written; None if it may mean another thing.

    An error that names a file counts only if the file belongs to `out`, and not if it is, say, an unreadable input.

    Args:
        beside: how the names of files and folders beside `out` begin that belong to writing it.
    """
    if error.errno not in (*WRITE_ONLY, *_PERMISSION, *_OF_PATHS, errno.EIO, errno.ENAMETOOLONG):
        return None
    names = [Path(name) for name in _names(error)]
    folders = (out.absolute(), Path(os.path.realpath(out)))
    is_about_out = any(_belongs_to(name.absolute(), folder, beside) for name in names for folder in folders)
    if not names:
        is_about_out = error.errno in WRITE_ONLY
    return cannot_write(error, out) if is_about_out else None


def cannot_read(error: OSError, what: Path | str) -> UserError:
    """Return the UserError for an error that came from reading `what`: the system's reason and a remedy."""
    remedy = _READ_REMEDIES.get(error.errno or 0, "check the path and its disk")
    return UserError(f"cannot read {what}: {_words(error)}: {remedy}")


@contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError; for code that reads `path` and nothing else.

    A missing file stays a FileNotFoundError: who reads it knows what makes it.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_read(error, path) from error


def as_reported(error: BaseException) -> ReportedError | None:
    """Return the sentence for an error that no place has explained, though it is not a bug; None for all others.

    These are a disk, limit or permission that refuses, lack of memory, a connection that breaks, and JSON and YAML
    nested without an end.
    """
    if isinstance(error, ReportedError):
        return error
    if _lacks_memory(error):
        remedy = "use fewer or smaller images, smaller batches or a smaller model, or a machine with more memory"
        return UserError(f"there is not enough memory ({reason(error)}): {remedy}")
    if isinstance(error, RecursionError) and _is_in_parser(error):
        return UserError("something in the input is nested too deeply to be read: check its lists and mappings")
    if isinstance(error, BrokenPipeError | ConnectionResetError):
        return ReportedError(f"a connection was closed at its other end ({_words(error)}): start again")
    refusal = system_error(error)
    if refusal is None or not (refusal.errno in _NO_BUGS or _NO_TEMPORARY in str(error)):
        return None
    names = _names(refusal)
    if refusal.errno in FULL and not names:
        return UserError(
            f"cannot write: {_words(refusal)}: free some space, also in {os.environ.get('TMPDIR', '/tmp')}"
        )
    action = "write" if refusal.errno in WRITE_ONLY else "read or write"
    what = f"{action} {' or '.join(names)}" if names else action
    remedy = _REMEDIES.get(refusal.errno or 0, "let TMPDIR name a folder that can be written")
    return UserError(f"cannot {what}: {_words(refusal)}: {remedy}")


def comes_from_machine(error: BaseException) -> bool:
    """Return whether a disk, a limit on open files or the memory of this machine is to blame for an error.

    A sentence of ours about lack of memory that names the setting to change is no such error.
    """
    if _lacks_memory(error):
        return True
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        refusal = system_error(cause)
        if refusal is not None and (refusal.errno in _OF_MACHINE or _NO_TEMPORARY in str(refusal)):
            return True
        seen.append(cause)
        # The context is there, too, of an error that is raised "from None".
        cause = cause.__cause__ or cause.__context__
    return False


def exit_code_of_task(error: BaseException, reported: ReportedError) -> int:
    """Return with which exit code a task ends that `error` ends, which `reported` explains.

    A disk or a limit on open files that refuses is that of this machine: another one may do what the task needs. Memory
    is not, of which all machines of a job have as much.
    """
    if reported.exit_code == UserError.exit_code and comes_from_machine(error) and not _is_about_memory(error):
        return ReportedError.exit_code
    return reported.exit_code


def _is_about_memory(error: BaseException) -> bool:
    refusal = system_error(error)
    return _lacks_memory(error) or (refusal is not None and refusal.errno == errno.ENOMEM)


def _names(error: OSError) -> list[str]:
    """Return the names of the one or two files that an error is about; none if it does not say."""
    return [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]


def _belongs_to(path: Path, out: Path, beside: str) -> bool:
    """Whether `path` is `out` or something that belongs to writing it, inside one, or a folder above it."""
    parts = path.is_relative_to(out.parent) and path.relative_to(out.parent).parts[:1]
    first = parts[0] if parts else ""
    return out.is_relative_to(path) or first == out.name or first.startswith(beside)


def _lacks_memory(error: BaseException) -> bool:
    torch_on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or torch_on_cpu


def _is_in_parser(error: BaseException) -> bool:
    modules = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.partition(".")[0] in ("json", "yaml") for module in modules)


def _words(error: OSError) -> str:
    words = str(error.strerror or error)
    # "No space left on device", but "ENOSPC ..." as it is
    return words[:1].lower() + words[1:] if words[1:2].islower() else words
