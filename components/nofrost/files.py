"""Read and write files and folders atomically: a killed process leaves the old content or the new one."""

import errno
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.system_errors import explain_read_errors

# In the names of files and folders that are ours: NoFrost made them and may delete them.
MARK = ".nofrost-"
# What file systems answer that know no locks, such as some network disks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class LocksUnknownError(OSError):
    """The file system knows no locks."""


def work_path(target: Path, what: str) -> Path:
    """Return the path beside `target` of something that belongs to writing it: ``.NAME.nofrost-WHAT``.

    Only paths with this mark are ever deleted or renamed beside an output: all others may be a user's.
    """
    return target.with_name(f".{target.name}{MARK}{what}")


def make_folder(path: Path) -> None:
    """Make the folder `path`, and those above it, unless it is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


@contextmanager
def atomic_path(path: Path, *, mode: int | None = None, sync: bool = True) -> Iterator[Path]:
    """Make an empty temporary file beside `path` that replaces it when the block ends without an error.

    A link stays a link: the file that it names is replaced.

    Args:
        path: the file to write; missing folders above it are created.
        mode: its permissions; by default those of the file that is replaced, and those of the process's umask for a
            new one.
        sync: write it through to the disk first, so that it survives a power cut.

    Raises:
        UserError: at `path` there is something that is neither a file nor a folder.
        OSError: the disk refuses, or the file at `path` is protected from writing and no `mode` is given.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    make_folder(path.parent)
    if path.exists():
        if not (path.is_file() or path.is_dir()):
            raise UserError(f"cannot write {path}: it is a device, a pipe or a socket: choose another place")
        if mode is None:
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            mode = stat.S_IMODE(path.stat().st_mode)
    temporary, descriptor = _temporary_file(path, 0o666 if mode is None else mode | 0o600)
    try:
        yield temporary
        if sync:
            # Opened again, since the block may have replaced the file.
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(stat.S_IMODE(os.fstat(descriptor).st_mode) if mode is None else mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _temporary_file(path: Path, mode: int) -> tuple[Path, int]:
    """Return a new temporary file for `path`, and a descriptor that locks it.

    Its name is always the same, so that what a killed process left is replaced, unless another process or thread
    writes the same file at the same time.
    """
    for number in itertools.count():
        temporary = work_path(path, f"tmp{number or ''}")
        try:
            with suppress(FileNotFoundError):
                remove_unlocked(temporary)
        except LocksUnknownError:
            # It may be another's. Without locks, names that nobody else chooses keep writers apart.
            temporary = work_path(path, f"tmp-{secrets.token_hex(4)}")
        with suppress(FileExistsError):
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                is_ours = lock(temporary, descriptor)
            except LocksUnknownError:
                is_ours = True
            if is_ours:
                return temporary, descriptor
            os.close(descriptor)
    raise AssertionError("there is always another number")


def remove_unlocked(temporary: Path, *, pretend: bool = False) -> bool:
    """Delete a file unless a process holds a lock on it; return whether none does.

    Args:
        pretend: leave the file.
    """
    descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        is_free = lock(temporary, descriptor)
        if is_free and not pretend:
            temporary.unlink()
        return is_free
    finally:
        os.close(descriptor)


def lock(path: Path, descriptor: int, *, wait: bool = False) -> bool:
    """Lock the open file; return whether it worked and the file is still the one at `path`.

    The lock belongs to `descriptor`: it ends with it and its copies in forked children, however they end.

    Raises:
        LocksUnknownError: the file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise LocksUnknownError from error
        raise
    return is_at(path, descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file is the one at `path`, and not one that was there."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside `path` that replaces it when the block ends without an error."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def replace_folder(source: Path, target: Path) -> None:
    """Rename the folder (or file) `source` to `target`, and delete what `target` was.

    A killed process leaves the old or the new content complete, at worst under another name, which
    :func:`restore_folder` undoes. To be called in a :func:`nofrost.lock.folder_lock`.
    """
    restore_folder(target)
    earlier = work_path(target, "earlier")
    if target.exists():
        if source.is_dir() == target.is_dir():
            source.chmod(stat.S_IMODE(target.stat().st_mode))
        target.rename(earlier)
    try:
        source.rename(target)
    except BaseException:
        restore_folder(target)
        raise
    # The new content is in place. Remains of the old one that cannot be deleted now are deleted by the next call.
    with suppress(OSError):
        remove(earlier)


def restore_folder(target: Path) -> None:
    """Finish or undo a :func:`replace_folder` whose process was killed: old content moved away, or not yet deleted."""
    earlier = work_path(target, "earlier")
    if earlier.exists() and not target.exists():
        earlier.rename(target)
    remove(earlier)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that it contains; a missing one is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, atomically. NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON from `path`.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON (NaN and infinity are not).
    """
    regular_file(path)
    try:
        with explain_read_errors(path):
            return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that writes it, or choose another folder") from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): run the stage that wrote it again") from None


def write_checked_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as JSON with its checksum, atomically; for what this program alone reads again."""
    write_json(path, {"sha256": _sha256_of_json(value), "content": value})


def read_checked_json(path: Path) -> Any:
    """Return what :func:`write_checked_json` wrote.

    Raises:
        UserError: the file is missing, or was cut off or changed.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("sha256") != _sha256_of_json(content.get("content")):
        raise UserError(f"{path} is damaged (its checksum is another): delete it")
    return content["content"]


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's content in hexadecimal."""
    with explain_read_errors(path), regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(constant: str) -> Any:
    raise ValueError(f"it contains {constant}, which is not a number")
