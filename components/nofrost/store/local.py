"""A store in a local folder, such as DVC's local remote."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.files import MARK, atomic_path
from nofrost.stage import disk_error
from nofrost.store.base import CHUNK, OBJECTS, MissingError, checked_name, object_name
from nofrost.store.local_file import LocalFile

# The mode of objects in DVC's cache.
_READ_ONLY = 0o444
_UNFINISHED = re.compile(rf"(?:.*/)?\.[^/]*{re.escape(MARK)}tmp[^/]*")


class LocalStore:
    """A store in a folder, which is created when something is pushed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = min(8, (os.cpu_count() or 1) + 2)

    @property
    def url(self) -> str:
        return str(self.folder)

    def container_environment(self) -> dict[str, str]:
        return {}

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / checked_name(name)
        mode = _READ_ONLY if name.startswith(OBJECTS) else None
        with self._writing(), atomic_path(path, mode=mode) as temporary:
            temporary.write_bytes(content)

    def get(self, name: str) -> bytes:
        with self._reading(name):
            return (self.folder / checked_name(name)).read_bytes()

    def names(self, prefix: str) -> list[str]:
        top = self.folder / prefix.rpartition("/")[0]
        names = (path.relative_to(self.folder).as_posix() for path in top.rglob("*") if path.is_file())
        return sorted(name for name in names if name.startswith(prefix) and not _UNFINISHED.fullmatch(name))

    def sizes(self, md5s: Iterable[str]) -> Mapping[str, int]:
        sizes = {}
        for md5 in md5s:
            with suppress(FileNotFoundError, NotADirectoryError):
                sizes[md5] = self._path(md5).stat().st_size
        return sizes

    def put_file(self, file: LocalFile, jobs: int = 1) -> None:
        target = self._path(file.md5)
        with self._writing(), atomic_path(target, mode=_READ_ONLY, sync=False) as temporary:
            shutil.copyfile(file.path, temporary)
            file.check_unchanged()

    def read(self, md5: str) -> Iterator[bytes]:
        with self._reading(f"object {md5}"):
            file = self._path(md5).open("rb")
        with file:
            while chunk := file.read(CHUNK):
                yield chunk

    def _path(self, md5: str) -> Path:
        return self.folder / object_name(md5)

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(what, self.url) from None
        except OSError as error:
            raise UserError(f"cannot read {what} in {self.url} ({error.strerror}): check its permissions") from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_error(error, self.folder) from error
