"""Read and write files and folders atomically: a killed process leaves the old content or the new one."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nofrost.errors import UserError
from nofrost.limits import regular_file

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another place"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "choose a place that can be written"),
}


@contextmanager
def atomic_path(path: Path, *, mode: int = 0o644, sync: bool = True) -> Iterator[Path]:
    """Make an empty temporary file beside `path` that replaces it when the block ends without an error.

    Args:
        path: the file to write; missing folders above it are created.
        mode: its permissions.
        sync: write it through to the disk first, so that it survives a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if sync:
            # Opened again, since the block may have replaced the file.
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary binary file beside `path` that replaces it when the block ends without an error."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def replace_folder(source: Path, target: Path) -> None:
    """Rename the folder (or file) `source` to `target`, and delete what `target` was.

    A killed process leaves the old or the new content complete, at worst under the name ``<target>.earlier``, which
    :func:`restore_folder` undoes.
    """
    restore_folder(target)
    earlier = _earlier(target)
    if target.exists():
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
    earlier = _earlier(target)
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


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into a UserError; for code that writes `path` and nothing else."""
    try:
        yield
    except OSError as error:
        raise cannot_write(error, path) from error


def cannot_write(error: OSError, path: Path) -> UserError:
    """Return the UserError for an error that came from writing `path`: the system's reason and a remedy."""
    reason = str(error.strerror or error)
    remedy = _REMEDIES.get(error.errno or 0, "choose another place")
    return UserError(f"cannot write {path}: {reason[:1].lower()}{reason[1:]}: {remedy}")


def read_json(path: Path) -> Any:
    """Read JSON from `path`.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON (NaN and infinity are not).
    """
    regular_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that writes it, or choose another folder") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): check the path and its permissions") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): run the stage that wrote it again") from None


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's content in hexadecimal."""
    with regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(constant: str) -> Any:
    raise ValueError(f"it contains {constant}, which is not a number")


def _earlier(target: Path) -> Path:
    return target.with_name(target.name + ".earlier")
