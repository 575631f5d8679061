"""From a file or folder to a ref."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nofrost.errors import UserError
from nofrost.store.base import Store, object_name
from nofrost.store.local_file import LocalFile, files_below
from nofrost.store.ref import Ref
from nofrost.store.threads import for_each
from nofrost.store.tree import Entry, address, as_object
from nofrost.telemetry import progress


def push(path: Path, store: Store) -> Ref:
    """Store a file or folder and return its ref; what is there already is not sent again.

    The object that lists a folder's files is stored last: where it is, all of them are.

    Raises:
        UserError: `path` is not there, cannot be stored or changes meanwhile, or the store refuses.
    """
    try:
        return _push_folder(path, store) if path.is_dir() else _push_file(path, store)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or path} is not there: name a file or folder to store") from None
    except OSError as error:
        raise UserError(f"cannot read {error.filename or path} ({error.strerror}): check its permissions") from error


def _push_file(path: Path, store: Store) -> Ref:
    source = LocalFile.of(path)
    _send([source], store, path.name)
    return Ref(source.md5, source.size)


def _push_folder(folder: Path, store: Store) -> Ref:
    sources = files_below(folder)
    _send(sources.values(), store, folder.name)
    listing = as_object(Entry(relpath, source.md5) for relpath, source in sources.items())
    md5 = address(listing)
    if store.sizes([md5]).get(md5) != len(listing):
        store.put(object_name(md5), listing)
    return Ref(md5, sum(source.size for source in sources.values()), len(sources))


def _send(sources: Collection[LocalFile], store: Store, title: str) -> None:
    """Store those files that are not there, or not in their size."""
    by_address = {source.md5: source for source in sources}
    there = store.sizes(by_address)
    absent = [source for source in by_address.values() if there.get(source.md5) != source.size]
    each = max(1, store.jobs // max(1, len(absent)))
    with progress(f"storing {title}", total=len(by_address), done=len(by_address) - len(absent)) as shown:
        for_each(lambda source: store.upload(source, each), absent, jobs=store.jobs, done=lambda _: shown.advance())
