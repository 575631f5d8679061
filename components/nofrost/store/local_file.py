"""Local files and the addresses of their contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.store.ref import MOST_LEVELS
from nofrost.store.threads import for_each
from nofrost.system_errors import cannot_read
from nofrost.telemetry import progress

# Bytes of a file or object that are in memory while it is read.
CHUNK = 1 << 20
# Names that DVC leaves out of a folder, at any depth.
_IGNORED_FOLDERS = frozenset((".git", ".hg"))
_IGNORED_FILES = frozenset((".git",))
_REFUSED = {".dvc": "a DVC project inside of data, which DVC leaves out", ".dvcignore": "DVC's rules inside of data"}


@dataclass(frozen=True)
class LocalFile:
    """A file with the address of its content, and its status from before it was hashed.

    Attributes:
        path: the file.
        md5: address of its content.
        status: of the file.
    """

    path: Path
    md5: str
    status: os.stat_result

    @classmethod
    def of(cls, path: Path) -> LocalFile:
        """Hash a file.

        Raises:
            UserError: it is a device, a socket or a pipe, which might be endless.
            OSError: it cannot be read.
        """
        status = regular_file(path).stat()
        with path.open("rb") as file:
            return cls(path, hashlib.file_digest(file, "md5").hexdigest(), status)

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.status.st_size

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the content in chunks of `size` bytes.

        Raises:
            UserError: it cannot be read, or the file has changed since it was hashed, which is only known at the end.
        """
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(size):
                    yield chunk
            self.check_unchanged()
        except FileNotFoundError:
            raise self.changed() from None
        except OSError as error:
            raise cannot_read(error, self.path) from error

    def check_unchanged(self) -> None:
        """Check that the file's status is that from before it was hashed.

        Raises:
            UserError: the file was written to.
        """
        if file_state(self.path.stat()) != file_state(self.status):
            raise self.changed()

    def changed(self) -> UserError:
        """Return the error for a file that has changed since it was hashed."""
        return UserError(f"{self.path} changed while it was pushed: push it again when nothing writes to it")


def file_state(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from what it was before it was written to, and from another that takes its place."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def files_below(folder: Path) -> Mapping[str, LocalFile]:
    """Hash the files below `folder` and return them by their relative paths.

    A link to a file counts as the file. Folders without a file are left out, and so is what git or Mercurial keeps.

    Raises:
        UserError: there is something that DVC would leave out or refuse.
        OSError: something cannot be read.
    """
    files: dict[str, LocalFile] = {}

    def add(relpath: str) -> None:
        files[relpath] = LocalFile.of(folder / relpath)

    paths = _paths_below(folder)
    with progress(f"checksums of {folder.name}", total=len(paths)) as bar:
        for_each(add, paths, jobs=os.cpu_count() or 1, done=lambda _: bar.advance())
    return files


def _paths_below(folder: Path) -> list[str]:
    paths = []
    for parent, folders, names in os.walk(folder, onerror=_raise):
        path = Path(parent)
        for name in (*folders, *names):
            if name in _REFUSED:
                raise _refused(path / name, _REFUSED[name], "move it away")
        # os.walk descends only into those that remain in its list.
        folders[:] = [name for name in folders if name not in _IGNORED_FOLDERS]
        for name in folders:
            if (path / name).is_symlink():
                raise _refused(path / name, "a link to a folder, which DVC leaves out", "put the folder itself there")
        below = path.relative_to(folder).as_posix()
        if names and below.count("/") >= MOST_LEVELS - 1:
            raise _refused(path, f"more than {MOST_LEVELS} folders deep", "move its files up")
        paths += [name if below == "." else f"{below}/{name}" for name in names if name not in _IGNORED_FILES]
    return paths


def _raise(error: OSError) -> None:
    raise error


def _refused(path: Path, what: str, remedy: str) -> UserError:
    return UserError(f"{path} is {what}: {remedy}, then push the folder again")
