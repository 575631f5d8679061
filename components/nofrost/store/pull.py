"""From a ref to a file or folder, whole and verified or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.files import cannot_write, replace_folder
from nofrost.store.base import Store
from nofrost.store.local_file import LocalFile
from nofrost.store.placing import check_replaceable, holds
from nofrost.store.ref import Ref
from nofrost.store.threads import for_each
from nofrost.store.tree import entries_of
from nofrost.telemetry import progress

_TRIES = 2  # an object that arrives altered is fetched once more: the network may be to blame


def pull(ref: Ref, path: Path, store: Store) -> None:
    """Make `path` the content of `ref`, whole and verified, or leave it as it is.

    Files come into a folder beside `path` that takes its place when all are there; after a kill, the next call keeps
    those that are intact. Equal content at `path` is left alone, an output of a stage is replaced.

    Raises:
        UserError: an object is missing or altered, `path` holds something else, or the store or the disk refuses.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        if holds(target, ref):
            return
        check_replaceable(target)
        files = files_of(ref, store, target.name)
        with _alone(target.with_name(f"{target.name}.fetch.partial")) as partial:
            if not holds(target, ref):  # it may have been waiting for another process that made it
                content = partial / "content"
                _fetch(files, content, target.name, store)
                replace_folder(content if ref.is_dir else content / target.name, target)
            shutil.rmtree(partial)
    except OSError as error:
        raise cannot_write(error, path) from error


def files_of(ref: Ref, store: Store, name: str = "content") -> Mapping[str, str]:
    """Return the md5 of each file of `ref` by its path; a ref of a file has one, called `name`.

    Raises:
        UserError: the object that lists them is missing or altered.
    """
    if not ref.is_dir:
        return {name: ref.md5}
    entries = entries_of(b"".join(store.read(ref.md5)), ref.md5, store.url)
    return {entry.relpath: entry.md5 for entry in entries}


def _fetch(files: Mapping[str, str], content: Path, title: str, store: Store) -> None:
    """Complete the folder `content`."""
    kept = _keep_intact(content, files)
    for folder in {content, *((content / relpath).parent for relpath in files)}:
        folder.mkdir(parents=True, exist_ok=True)
    places = defaultdict(list)
    for relpath, md5 in files.items():
        if relpath not in kept:
            places[md5].append(content / relpath)

    def fetch(md5: str) -> None:
        first, *others = places[md5]
        _download(md5, first, store)
        for place in others:
            shutil.copyfile(first, place)

    with progress(f"fetching {title}", total=len(places)) as shown:
        for_each(fetch, places, jobs=store.jobs, done=lambda _: shown.advance())


def _keep_intact(content: Path, files: Mapping[str, str]) -> set[str]:
    """Return the files that an earlier call brought here, and delete what is not wanted or not intact."""
    kept = set()
    for place, _, names in os.walk(content, topdown=False):
        for name in names:
            path = Path(place, name)
            relpath = path.relative_to(content).as_posix()
            if LocalFile.of(path).md5 == files.get(relpath):
                kept.add(relpath)
            else:
                path.unlink()
        with suppress(OSError):  # there is still something in it
            Path(place).rmdir()
    return kept


def _download(md5: str, path: Path, store: Store) -> None:
    """Write an object to a new file. Half of it may stay after an error: the next call finds that by its checksum."""
    with path.open("xb") as file:
        for _ in range(_TRIES):
            digest = hashlib.md5(usedforsecurity=False)
            for piece in store.read(md5):
                digest.update(piece)
                file.write(piece)
            if digest.hexdigest() == md5:
                return
            file.seek(0)
            file.truncate()
    raise UserError(f"object {md5} in {store.url} is altered or cut off: delete it, then store it again")


@contextmanager
def _alone(partial: Path) -> Iterator[Path]:
    """Hold the partial folder alone; another process that fetches to the same place waits until we are done."""
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else the one we waited for has deleted it
                with _no_litter(partial):
                    yield partial
                return
        finally:
            os.close(handle)


@contextmanager
def _no_litter(partial: Path) -> Iterator[None]:
    """Delete the partial folder after an error if nothing has arrived in it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if not any(path.stat().st_size for path in partial.rglob("*") if path.is_file()):
                shutil.rmtree(partial)
        raise
