"""Pull the content of a ref to a file or folder: complete and verified, or not at all."""

import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.files import MARK, LocksUnknownError, remove, replace_folder, restore_folder, work_path
from nofrost.lock import folder_lock, is_written
from nofrost.stage import RECORD, check_apart, check_replaceable, target_of
from nofrost.store.base import MOST_NAMED_BYTES, AlteredError, Leftover, MissingError, Store
from nofrost.store.local import LocalStore
from nofrost.store.local_file import LocalFile, files_below
from nofrost.store.ref import Ref
from nofrost.store.threads import for_each
from nofrost.store.tree import Entry, address, as_object, read_entries, read_object
from nofrost.system_errors import cannot_write
from nofrost.telemetry import progress

# An object that arrives altered is downloaded once more, as the network may be the cause.
_DOWNLOADS = 2
_SHARD = re.compile(r"(?:.*/)?[^/]+-[0-9]{6}\.tar")
# Number of missing or altered objects that a message of `verify` names.
_NAMED = 3


def pull(ref: Ref, path: Path, store: Store, *, shards: bool = True) -> None:
    """Replace `path` by the content of `ref`, complete and verified, or leave it unchanged.

    Files are downloaded to a folder beside `path`, which replaces it when it is complete. If the process is killed, the
    next call keeps the intact files. Equal content at `path` is kept; other outputs of a stage are replaced.

    Args:
        shards: also pull the shards of images (``train/train-000000.tar``), if there are any. Without them the rest is
            verified, and content at `path` that also has them is kept.

    Raises:
        UserError: an object is missing or altered, `path` holds something else, or the store or the disk refuses.
    """
    try:
        target = target_of(path)
        if isinstance(store, LocalStore):
            check_apart(path, target, [store.folder])
        files: Mapping[str, str] | None = None
        fitting = {ref.md5}
        if ref.is_dir and not shards:
            files = {relpath: md5 for relpath, md5 in files_of(ref, store).items() if not is_shard(relpath)}
            fitting.add(address(as_object(itertools.starmap(Entry, files.items()))))
        partial = work_path(target, "pull")
        # Nothing is written where nothing is to do, so that the place may be read-only.
        leftovers = (work_path(target, what) for what in ("pull", "earlier", "lock"))
        is_whole, seen = not any(os.path.lexists(path) for path in leftovers), _identity(target)
        if is_whole and _address(target) in fitting:
            return
        # Another process may pull the same, or be a stage that writes there: wait until it has finished.
        with folder_lock(target, wait=True):
            restore_folder(target)
            # Read a second time only if another process has replaced it.
            if (is_whole and _identity(target) == seen) or _address(target) not in fitting:
                check_replaceable(path, target, None)
                files = files_of(ref, store, target.name) if files is None else files
                check_replaceable(path, target, _stage_of(files, store))
                with _removed_if_empty(partial):
                    content = partial / "content"
                    _complete(content, files, target.name, store)
                    replace_folder(content if ref.is_dir else content / target.name, target)
            remove(partial)
    except OSError as error:
        raise cannot_write(error, path) from error


def sweep_pulls(folder: Path, least_age_s: float, *, delete: bool) -> list[Leftover]:
    """Return what killed pulls left in `folder` and below, after deleting it if `delete` is set.

    What a killed pull had moved away is moved back. Pulls that are running are left alone.

    Args:
        least_age_s: since the last change, in seconds, from which on a pull counts as killed on a disk without locks.
    """
    leftovers = []
    for partial in sorted(folder.rglob(f".*{MARK}pull")):
        target = partial.with_name(partial.name[1 : -len(f"{MARK}pull")])
        size, changed = _size_and_time(partial)
        try:
            try:
                is_dead = not is_written(target)
            except LocksUnknownError:
                is_dead = time.time() - changed >= least_age_s
            if is_dead and delete:
                with folder_lock(target):
                    restore_folder(target)
                    remove(partial)
        except UserError:
            is_dead = False
        except OSError as error:
            raise cannot_write(error, partial) from error
        leftovers.append(Leftover(str(partial), size, is_dead))
    return leftovers


def _size_and_time(partial: Path) -> tuple[int, float]:
    """Return the size of all files in the folder, and when something in it was last changed."""
    size, changed = 0, 0.0
    for path in (partial, *partial.rglob("*")):
        # A running pull moves its files away.
        with suppress(FileNotFoundError):
            status = path.lstat()
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
            changed = max(changed, status.st_mtime)
    return size, changed


def files_of(ref: Ref, store: Store, name: str = "content") -> Mapping[str, str]:
    """Return the md5 of each file of `ref` by its path; a ref of a file has one, called `name`.

    Raises:
        UserError: the object that lists them is missing or altered.
    """
    if not ref.is_dir:
        return {name: ref.md5}
    return {entry.relpath: entry.md5 for entry in read_entries(ref.md5, store)}


def is_shard(relpath: str) -> bool:
    """Return whether a file of a folder is a shard of images, by its name."""
    return bool(_SHARD.fullmatch(relpath))


def verify(ref: Ref, store: Store) -> None:
    """Read every object of `ref` and compare it with its checksum; nothing is written anywhere.

    Raises:
        UserError: objects are missing or altered; the message names some of them.
    """
    md5s = set(files_of(ref, store).values())
    faults: list[str] = []

    def check(md5: str) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        try:
            for chunk in store.read(md5):
                digest.update(chunk)
        except MissingError:
            faults.append(f"{md5} is missing")
        else:
            if digest.hexdigest() != md5:
                faults.append(f"{md5} is altered or cut off")

    with progress(f"verifying {ref.md5}", total=len(md5s)) as bar:
        for_each(check, md5s, jobs=store.jobs, done=lambda _: bar.advance())
    if faults:
        examples = ", ".join(sorted(faults)[:_NAMED]) + (", ..." if len(faults) > _NAMED else "")
        raise UserError(
            f"{store.url} does not hold {ref.md5}: of {len(md5s)} objects {len(faults)} are wrong ({examples}): "
            "delete those that are altered, then push the content again"
        )


def _address(path: Path) -> str | None:
    """Return the address of the file or folder at `path`; None if it is missing or cannot be the content of a ref."""
    try:
        if path.is_dir():
            entries = [Entry(relpath, file.md5) for relpath, file in files_below(path).items()]
            return address(as_object(entries))
        return LocalFile.of(path).md5 if path.is_file() else None
    except UserError:
        # It contains something that cannot be pushed.
        return None


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return what tells a file or folder from another that takes its place; None if there is none."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_dev, status.st_ino, status.st_mtime_ns
    return None


def _stage_of(files: Mapping[str, str], store: Store) -> str:
    """Return the name of the stage whose output `files` are."""
    content = read_object(files[RECORD], store, MOST_NAMED_BYTES) if RECORD in files else b"{}"
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        record = None
    stage = record.get("stage") if isinstance(record, dict) else None
    return str(stage or "what you pull")


def _complete(content: Path, files: Mapping[str, str], title: str, store: Store) -> None:
    """Download the files that the folder `content` lacks."""
    intact = _keep_intact(content, files)
    for folder in {content, *((content / relpath).parent for relpath in files)}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = defaultdict(list)
    for relpath, md5 in files.items():
        if relpath not in intact:
            missing[md5].append(content / relpath)

    def download(md5: str) -> None:
        first, *others = missing[md5]
        _download(md5, first, store)
        for path in others:
            shutil.copyfile(first, path)

    with progress(f"pulling {title}", total=len(missing)) as bar:
        for_each(download, missing, jobs=store.jobs, done=lambda _: bar.advance())


def _keep_intact(content: Path, files: Mapping[str, str]) -> set[str]:
    """Return the intact files that an earlier call downloaded, and delete all others."""
    intact = set()
    for folder, _, names in os.walk(content, topdown=False):
        for name in names:
            path = Path(folder, name)
            relpath = path.relative_to(content).as_posix()
            if LocalFile.of(path).md5 == files.get(relpath):
                intact.add(relpath)
            else:
                path.unlink()
        # Fails for a folder that is not empty.
        with suppress(OSError):
            Path(folder).rmdir()
    return intact


def _download(md5: str, path: Path, store: Store) -> None:
    """Write an object to a new file. An error may leave an incomplete file, which the next call detects."""
    with path.open("xb") as file:
        for _ in range(_DOWNLOADS):
            digest = hashlib.md5(usedforsecurity=False)
            for chunk in store.read(md5):
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() == md5:
                return
            file.seek(0)
            file.truncate()
    raise AlteredError(f"object {md5} in {store.url} is altered or cut off: delete it, then push it again")


@contextmanager
def _removed_if_empty(partial: Path) -> Iterator[None]:
    """Delete the partial folder after an error if nothing was downloaded to it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if not any(path.stat().st_size for path in partial.rglob("*") if path.is_file()):
                shutil.rmtree(partial)
        raise
