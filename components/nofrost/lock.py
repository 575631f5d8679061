"""A lock on a folder that is being written: two processes never write the same one at once."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError, remark
from nofrost.files import MARK, LocksUnknownError, is_at, lock, make_folder, work_path

# A process writes who it is right after it has taken the lock.
_INTRODUCTION_S = 0.5


@contextmanager
def folder_lock(target: Path, *, wait: bool = False, quiet: bool = False) -> Iterator[None]:
    """Let no other process, nor another thread, be in such a block for the folder or file `target`.

    The lock is the system's on a file beside `target`, which says who holds it. It ends with the process that holds it
    and with the children that it forked, however they end: what a dead process left is taken over.

    Args:
        wait: until another process has finished, which standard error then says.
        quiet: wait without a word, where nobody holds the lock for long.

    Raises:
        UserError: another process is in such a block, and `wait` is not set.
        OSError: the disk refuses.
    """
    path = work_path(target, "lock")
    make_folder(path.parent)
    descriptor = _acquire(path, target, wait, quiet)
    owner = os.getpid()
    try:
        yield
    finally:
        # Deleted while it is locked: who waits for it notices, and makes another. A forked child must not delete it.
        if os.getpid() == owner and is_at(path, descriptor):
            # Of another user's file, a folder with the sticky bit forbids it.
            with suppress(FileNotFoundError, PermissionError):
                path.unlink()
        os.close(descriptor)


def is_written_in(folder: Path) -> bool:
    """Return whether a process is in a :func:`folder_lock` for something that is directly in `folder`.

    On a disk that knows no locks, also where one was killed in it.
    """
    try:
        return any(_is_held(path) for path in folder.glob(f".*{MARK}lock"))
    except LocksUnknownError:
        return True


def is_written(target: Path) -> bool:
    """Return whether a process is in a :func:`folder_lock` for `target`; nothing is written.

    Raises:
        LocksUnknownError: one is, or was killed in it: the disk knows no locks.
    """
    return _is_held(work_path(target, "lock"))


def _is_held(path: Path) -> bool:
    try:
        descriptor = _open(path, 0)
    except FileNotFoundError:
        return False
    try:
        return not lock(path, descriptor) and is_at(path, descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    """Return the descriptor of a lock; for reading alone where it is another user's, which can be locked all the same.

    Who holds it can then not be written into it.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_RDWR, 0o666)
    except PermissionError:
        if not os.path.lexists(path):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _acquire(path: Path, target: Path, wait: bool, quiet: bool) -> int:
    """Return the descriptor of the file at `path`, locked."""
    while True:
        descriptor = _open(path, os.O_CREAT)
        try:
            if lock(path, descriptor):
                _introduce(descriptor)
                return descriptor
            # Where the process that held the lock has just deleted the file, there is nothing to wait for.
            if is_at(path, descriptor):
                if not (wait and quiet):
                    holder = f"{target} is being written by {_holder(descriptor)}"
                    if not wait:
                        raise UserError(f"{holder}: wait for it, or choose another place")
                    remark(f"{holder}: waiting for it")
                if lock(path, descriptor, wait=True):
                    _introduce(descriptor)
                    return descriptor
        except LocksUnknownError:
            remark(f"the disk of {target} knows no locks: let no other process write there meanwhile")
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _introduce(descriptor: int) -> None:
    """Write into the lock who holds it; on a full disk, or as another user's, it is a lock all the same."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "nofrost")
    content = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join([program, *sys.argv[1:2]])}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(content).encode(), 0)


def _holder(descriptor: int) -> str:
    """Describe the process that holds the lock."""
    end = time.monotonic() + _INTRODUCTION_S
    while time.monotonic() < end:
        try:
            holder = json.loads(os.pread(descriptor, 4096, 0))
            place = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
            return f"process {holder['pid']}{place} ({holder['command']})"
        except (ValueError, TypeError, KeyError):
            time.sleep(0.01)
    return "another process"
