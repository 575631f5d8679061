"""The images that prepare reads, where they lie on S3: fetched beside the output while it is made."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nofrost.errors import UserError
from nofrost.files import work_path
from nofrost.store.location import SCHEME


@contextmanager
def local_source(path: str, out: Path) -> Iterator[str]:
    """Yield `path`, or for ``s3://...`` the path of a copy on this machine.

    The copy is ``.OUT.nofrost-source/NAME``, which is deleted at the end. If the block ends with an error, or is
    killed, its files stay there, and the next call fetches those that are missing.

    Args:
        out: the folder that prepare writes.

    Raises:
        UserError: there is nothing at the URL, S3 refuses, or what it needs is not installed.
    """
    if not path.startswith(SCHEME):
        yield path
        return
    try:
        from nofrost.store.s3_files import fetch
    except ImportError as error:
        raise UserError(f"a source on S3 needs more ({error}): run pip install 'nofrost[store]'") from None
    folder = work_path(out, "source")
    yield str(fetch(path, folder))
    shutil.rmtree(folder, ignore_errors=True)
