"""Files that lie on S3 under names of their own, such as the archives of a dataset: fetched to a folder, resumably."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from nofrost.errors import UnavailableError, UserError, remark
from nofrost.files import atomic_path
from nofrost.store.location import SCHEME, Bucket, parse_location
from nofrost.store.remote import open_store
from nofrost.store.s3 import S3Store
from nofrost.store.threads import for_each
from nofrost.system_errors import cannot_write
from nofrost.telemetry import progress


def fetch(url: str, folder: Path) -> Path:
    """Copy an object, or all objects below a prefix, into `folder`, and return the path of the file or folder there.

    It bears the last part of the URL as its name. Files that an earlier call fetched are kept, if they have the size of
    their object; a file appears when it is whole. Empty objects, such as those that stand for folders, are left out.

    Args:
        url: ``s3://bucket/prefix`` of one object, or of several.

    Raises:
        UserError: there is nothing at `url`, an object has a name that no file can have, or S3 or the disk refuses.
        UnavailableError: the server cannot be reached, or sends less than it says.
    """
    location = parse_location(url)
    if not isinstance(location, Bucket) or not location.prefix:
        raise UserError(f"{url} names no object on S3: write s3://BUCKET/PREFIX, with a prefix")
    above, _, name = location.prefix.rpartition("/")
    single = _opened(f"{SCHEME}{location.name}/{above}".rstrip("/"))
    target = folder / name
    try:
        size = single.size(name)
        if size is not None:
            with progress(f"fetch {name}", total=1) as bar:
                _fetch(single, name, target, size)
                bar.advance()
            return target
        store = _opened(url)
        # Twice, as the names of millions of objects would take much memory.
        total = sum(map(len, store.pages()))
        if not total:
            raise UserError(f"there is nothing at {url}: check dataset.path")
        empty = 0
        with progress(f"fetch {name}", total=total) as bar:
            for page in store.pages():
                files = {each: size for each, size in page.items() if size}
                empty += len(page) - len(files)
                bar.advance(len(page) - len(files))
                fetch_one = partial(_fetch_below, store, target, files)
                for_each(fetch_one, files, jobs=store.jobs, done=lambda _: bar.advance())
    except OSError as error:
        raise cannot_write(error, target) from None
    if empty:
        remark(f"{empty:,} empty objects at {url} are left out")
    return target


def _opened(url: str) -> S3Store:
    store = open_store(url, patient=True)
    assert isinstance(store, S3Store)
    return store


def _fetch_below(store: S3Store, folder: Path, sizes: Mapping[str, int], name: str) -> None:
    _fetch(store, name, folder / name, sizes[name])


def _fetch(store: S3Store, name: str, path: Path, size: int) -> None:
    if path.is_file() and path.stat().st_size == size:
        return
    # Not synced: who continues after a power cut compares sizes.
    with atomic_path(path, sync=False) as temporary:
        with temporary.open("wb") as file:
            for chunk in store.stream(name):
                file.write(chunk)
        if (arrived := temporary.stat().st_size) != size:
            raise UnavailableError(f"{store.url}/{name} ended after {arrived:,} of {size:,} bytes: run this again")
