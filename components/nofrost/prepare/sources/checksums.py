"""Whether a file is the published one, by its checksum."""

import hashlib
from pathlib import Path
from typing import IO

from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.system_errors import explain_read_errors

_CHUNK = 1 << 20


def check_file(path: Path, file: PublishedFile, archive: PublishedFile | None = None) -> dict[str, str]:
    """Check that the file at `path` is the published one and return its checksum by its name.

    Args:
        archive: the published file that `file` is a member of.

    Raises:
        UserError: it is missing, cannot be read, or has another checksum.
    """
    if not regular_file(path).is_file():
        raise UserError(f"{path} is missing: download {(archive or file).name} again")
    with explain_read_errors(path), path.open("rb") as stream:
        return check_stream(stream, path, file, archive)


def check_stream(
    stream: IO[bytes], path: Path, file: PublishedFile, archive: PublishedFile | None = None
) -> dict[str, str]:
    """Check like :func:`check_file` what can be read from `stream`, which comes from the file at `path`."""
    assert file.checksum is not None
    kind, expected = file.checksum
    digest = hashlib.new(kind, usedforsecurity=False)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != expected:
        raise not_published(path, file, archive)
    return {file.name: f"{kind}:{expected}"}


def not_published(path: Path, file: PublishedFile, archive: PublishedFile | None = None) -> UserError:
    """Return the error for a file at `path`, or in it, that is not the published one."""
    assert file.checksum is not None
    kind = {"md5": "MD5", "sha256": "SHA-256"}[file.checksum[0]]
    where = path if path.name == file.name else f"{file.name} in {path}"
    return UserError(f"{where} is not the published file (its {kind} differs): download {(archive or file).name} again")
