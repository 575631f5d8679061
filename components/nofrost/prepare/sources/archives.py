"""Members of tar archives, read from the archive: nothing is unpacked, so nothing is written outside a folder."""

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

from nofrost.errors import UserError

_COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}


def named_members(
    path: Path, names: Collection[str], *, most_bytes: int, largest_member: int
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each regular file of the tar archive `path` that is called as one of `names`.

    Folders in the archive do not count. A content can be read until the next one is asked for.

    Args:
        most_bytes: of the unpacked archive: one that is longer is refused.
        largest_member: larger ones are left out.

    Raises:
        UserError: the archive is longer than `most_bytes`.
        OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError: it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _COMPRESSIONS.items() if start.startswith(magic)), nullcontext)
        with (
            unpack(file) as stream,
            tarfile.open(fileobj=cast(Any, _Limited(stream, path, most_bytes)), mode="r:") as archive,
        ):
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in names and member.isfile() and member.size <= largest_member:
                    content = archive.extractfile(member)
                    assert content is not None
                    yield name, content


class _Limited:
    """A stream that refuses to be read further than the published archive is long."""

    def __init__(self, stream: IO[bytes], path: Path, most_bytes: int) -> None:
        self.stream = stream
        self.path = path
        self.most_bytes = most_bytes

    def _check(self, position: int) -> None:
        if position > self.most_bytes:
            raise UserError(f"{self.path} holds more than the published archive: download it again")

    def read(self, size: int) -> bytes:
        self._check(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()
