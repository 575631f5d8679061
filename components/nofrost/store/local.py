"""A store in a local folder, such as DVC's local remote."""

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.files import MARK, LocksUnknownError, atomic_path, remove_unlocked
from nofrost.limits import regular_file
from nofrost.lock import folder_lock
from nofrost.store.base import (
    MOST_NAMED_BYTES,
    OBJECTS,
    Leftover,
    MissingError,
    Store,
    StoredObject,
    SwapError,
    Version,
    checked_name,
    object_name,
    too_large,
)
from nofrost.store.local_file import CHUNK, LocalFile
from nofrost.system_errors import cannot_read, cannot_write

# The mode of objects in DVC's cache.
_READ_ONLY = 0o444
# Folders of a store in which a killed push or pipeline run leaves unfinished files.
_WRITTEN = (OBJECTS, "nofrost/")
# Unfinished files and locks: ours, which are locked as long as they are used, and those of versions before 0.9.
_UNFINISHED = re.compile(rf"\..+{re.escape(MARK)}(tmp.*|lock)")
_UNFINISHED_BEFORE = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


class LocalStore:
    """A store in a folder, which is created when something is pushed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = min(8, (os.cpu_count() or 1) + 2)

    @property
    def url(self) -> str:
        return str(self.folder)

    def below(self, name: str) -> Store:
        return LocalStore(self.folder / checked_name(name))

    def container_environment(self) -> dict[str, str]:
        return {}

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / checked_name(name)
        mode = _READ_ONLY if name.startswith(OBJECTS) else None
        with self._writing(), atomic_path(path, mode=mode) as temporary:
            temporary.write_bytes(content)

    def get(self, name: str) -> bytes:
        with self._reading(name), regular_file(self.folder / checked_name(name)).open("rb") as file:
            content = file.read(MOST_NAMED_BYTES + 1)
        if len(content) > MOST_NAMED_BYTES:
            raise too_large(name, self.url, MOST_NAMED_BYTES)
        return content

    def version(self, name: str) -> Version | None:
        try:
            content = self.get(name)
        except MissingError:
            return None
        return Version(content, _tag(content))

    def swap(self, name: str, content: bytes, expected: str | None) -> str:
        with self._writing(), folder_lock(self.folder / checked_name(name), wait=True, quiet=True):
            current = self.version(name)
            if current is None or current.content != content:
                if (current.tag if current else None) != expected:
                    raise SwapError(name, self.url)
                self.put(name, content)
        return _tag(content)

    def obeys_conditions(self) -> bool:
        return True

    def names(self, prefix: str) -> list[str]:
        self._check_present()
        return sorted(self.objects(prefix))

    def objects(self, prefix: str) -> Mapping[str, StoredObject]:
        objects = {}
        with self._reading(prefix or "its list"):
            for parent, _, names in os.walk(self.folder / prefix.rpartition("/")[0], onerror=_raise):
                for path in (Path(parent, name) for name in names):
                    name = path.relative_to(self.folder).as_posix()
                    with suppress(FileNotFoundError):
                        status = path.stat()
                        if name.startswith(prefix) and stat.S_ISREG(status.st_mode) and not _is_unfinished(name):
                            objects[name] = StoredObject(status.st_size, status.st_mtime)
        return objects

    def delete(self, names: Iterable[str]) -> None:
        with self._writing():
            for name in names:
                (self.folder / checked_name(name)).unlink(missing_ok=True)

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        sizes = {}
        for md5 in md5s:
            with suppress(FileNotFoundError, NotADirectoryError):
                status = self._path(md5).stat()
                # Anything else in the place of an object is none.
                if stat.S_ISREG(status.st_mode):
                    sizes[md5] = status.st_size
        return sizes

    def put_file(self, file: LocalFile, jobs: int = 1) -> None:
        target = self._path(file.md5)
        # Errors of reading the file are UserErrors, so that the others are the store's.
        with (
            self._writing(),
            atomic_path(target, mode=_READ_ONLY, sync=False) as temporary,
            temporary.open("wb") as unfinished,
        ):
            for chunk in file.chunks():
                unfinished.write(chunk)

    def read(self, md5: str) -> Iterator[bytes]:
        with self._reading(f"object {md5}"), regular_file(self._path(md5)).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def sweep(self, least_age_s: float, *, delete: bool) -> list[Leftover]:
        self._check_present()
        leftovers = []
        for top in _WRITTEN:
            for parent, _, names in os.walk(self.folder / top):
                for path in (Path(parent, name) for name in names if _is_unfinished(name)):
                    with suppress(FileNotFoundError):
                        status = path.lstat()
                        is_old = time.time() - status.st_mtime >= least_age_s
                        with self._writing():
                            is_dead = _remove_if_dead(path, is_old, delete)
                        leftovers.append(Leftover(path.relative_to(self.folder).as_posix(), status.st_size, is_dead))
        return leftovers

    def _check_present(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"there is no store at {self.url}: push something there first, or correct its path")

    def _path(self, md5: str) -> Path:
        return self.folder / object_name(md5)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(what, self.url) from None
        except OSError as error:
            raise cannot_read(error, f"{what} in {self.url}") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(error, self.folder) from error


def _tag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _is_unfinished(name: str) -> bool:
    base = name.rpartition("/")[2]
    return bool(_UNFINISHED.fullmatch(base) or _UNFINISHED_BEFORE.fullmatch(base))


def _remove_if_dead(path: Path, is_old: bool, delete: bool) -> bool:
    """Return whether nobody writes an unfinished file, after deleting it if `delete` is set and nobody does."""
    if _UNFINISHED.fullmatch(path.name):
        with suppress(LocksUnknownError, PermissionError):
            return remove_unlocked(path, pretend=not delete)
    if is_old and delete:
        path.unlink()
    return is_old


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
