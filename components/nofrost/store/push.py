"""Push a file or folder to a store."""

from collections.abc import Callable, Collection
from pathlib import Path

from nofrost.errors import UserError, remark
from nofrost.stage import check_not_inside, overlap
from nofrost.store.base import OBJECTS, Store, object_name
from nofrost.store.local import LocalStore
from nofrost.store.local_file import LocalFile, files_below
from nofrost.store.ref import Ref
from nofrost.store.threads import for_each
from nofrost.store.tree import Entry, address, as_object
from nofrost.system_errors import cannot_read
from nofrost.telemetry import progress


def push(path: Path, store: Store) -> Ref:
    """Send a file or folder to the store and return its ref; content that the store already holds is not sent again.

    The object that lists a folder's files is sent last, so a store that holds it also holds all of the files.

    Raises:
        UserError: `path` is missing, cannot be pushed or changes meanwhile, the store refuses, or it is a folder that
            is not apart from `path` or lies in an output of a stage.
    """
    if isinstance(store, LocalStore):
        _check_place(path, store.folder)
    try:
        return _push_folder(path, store) if path.is_dir() else _push_file(path, store)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or path} does not exist: give a file or folder to push") from None
    except OSError as error:
        raise cannot_read(error, str(error.filename or path)) from error


def put_files(
    files: Collection[LocalFile], store: Store, *, done: Callable[[LocalFile], object] = lambda _: None
) -> None:
    """Send files to the store in threads, whatever it holds; `done` is called in this thread for each that is sent.

    Raises:
        UserError: the store refuses, or a file has changed since it was hashed.
    """
    # With fewer files than jobs, several jobs send the parts of one large file.
    jobs = max(1, store.jobs // max(1, len(files)))
    for_each(lambda file: store.put_file(file, jobs), files, jobs=store.jobs, done=done)


def _check_place(path: Path, folder: Path) -> None:
    """Check that the store in `folder` is not pushed into itself, and not deleted with an output that is made again."""
    if relation := overlap(folder, path):
        remedy = "choose a store outside of what is pushed, and push nothing out of a store"
        raise UserError(f"cannot push {path} to the store {folder}, which {relation} {path}: {remedy}")
    check_not_inside(folder, folder / OBJECTS)


def _push_file(path: Path, store: Store) -> Ref:
    file = LocalFile.of(path)
    _send([file], store, path.name)
    return Ref(file.md5, file.size)


def _push_folder(folder: Path, store: Store) -> Ref:
    files = files_below(folder)
    if not files:
        remark(f"{folder} contains no file: what is pushed is an empty folder")
    _send(files.values(), store, folder.name)
    listing = as_object(Entry(relpath, file.md5) for relpath, file in files.items())
    md5 = address(listing)
    if store.sizes([md5]).get(md5) != len(listing):
        store.put(object_name(md5), listing)
    return Ref(md5, sum(file.size for file in files.values()), len(files))


def _send(files: Collection[LocalFile], store: Store, title: str) -> None:
    """Send the files that the store does not hold with the same size."""
    by_address = {file.md5: file for file in files}
    sizes = store.sizes(by_address)
    missing = [file for file in by_address.values() if sizes.get(file.md5) != file.size]
    with progress(f"pushing {title}", total=len(by_address), done=len(by_address) - len(missing)) as bar:
        put_files(missing, store, done=lambda _: bar.advance())
