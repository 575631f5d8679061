"""Images in tar archives that are read by position, without unpacking: nothing is written, so nothing can go astray."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError, shortened
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import explain_damage

_BLOCK = tarfile.BLOCKSIZE
_LARGEST_HEADER = 1 << 20  # bytes of a name or of other facts about a member
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7z": "xz", b"\x28\xb5\x2f": "zstandard"}
_KIND = "not a tar archive", "fetch or make it again"


@dataclass(frozen=True)
class TarMember:
    """A file in a tar: its path there, and where its bytes lie in the file on the disk."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class TarImage:
    """An image in a tar, known by position alone, so that millions of them take little memory."""

    archive: Path
    offset: int
    size: int

    def open(self) -> IO[bytes]:
        """Return its bytes as a stream.

        Raises:
            UserError: the archive was cut off or removed meanwhile.
        """
        return io.BytesIO(read_bytes(self.archive, self.offset, self.size))

    def __str__(self) -> str:
        with explain_damage(self.archive, *_KIND):
            header = read_bytes(self.archive, self.offset - _BLOCK, _BLOCK)
            return f"{self.archive}: {tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape').name}"


@dataclass(frozen=True)
class TarImages:
    """The images of a split in tars, and the class of each.

    Attributes:
        archives: the tars.
        numbers: int32 [N], which of them an image is in.
        offsets, sizes: int64 [N], its first byte there, and how many it has.
        labels: int64 [N].
    """

    archives: Sequence[Path]
    numbers: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, row: int) -> TarImage:
        """Return the image of a row."""
        return TarImage(self.archives[self.numbers[row]], int(self.offsets[row]), int(self.sizes[row]))

    def images(self) -> Iterator[TarImage]:
        """Yield all images."""
        return map(self.image, range(len(self)))


def read_bytes(file: Path, offset: int, size: int) -> bytes:
    """Return `size` bytes of a file from `offset` on.

    Raises:
        UserError: it cannot be read, or ends before.
    """
    with explain_damage(file, *_KIND), regular_file(file).open("rb") as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content) < size:
        raise UserError(f"{file} is shorter than it was when it was listed: let nothing change it, and start again")
    return content


def tar_members(file: Path, offset: int = 0, size: int | None = None) -> Iterator[TarMember]:
    """Yield the files in an uncompressed tar in their order; folders are left out.

    Args:
        file: the archive, or one that holds it.
        offset: where it begins in `file`.
        size: its bytes; None if it is all of `file`.

    Raises:
        UserError: it is cut off, damaged, compressed or no tar, or holds a link, a device, or a path that leads out of
            the folder it would be unpacked to.
    """
    with explain_damage(file, *_KIND), regular_file(file).open("rb") as stream:
        size = file.stat().st_size - offset if size is None else size
        part = _Part(stream, offset, size, file)
        _refuse_compressed(file, part)
        with tarfile.open(fileobj=cast(Any, part), mode="r:") as archive:
            for member in archive:
                _check_member(file, member)
                if member.isreg():
                    yield TarMember(member.name, offset + member.offset_data, member.size)
                # otherwise it keeps all of them in memory
                cast(Any, archive).members.clear()
            # It ends quietly at a header that is damaged.
            part.seek(archive.offset)
            if any(part.read(_BLOCK)) or archive.offset >= size:
                raise UserError(f"{file} is cut off or damaged at byte {offset + archive.offset:,}: {_KIND[1]}")


class _Part:
    """A stretch of a file, as `tarfile` reads it; no name in it may be made to fill the memory."""

    def __init__(self, stream: IO[bytes], offset: int, size: int, file: Path) -> None:
        self._stream, self._offset, self._size, self._position, self._file = stream, offset, size, 0, file

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise UserError(f"{self._file} holds a name of {size:,} bytes: {_KIND[1]}")
        self._stream.seek(self._offset + self._position)
        content = self._stream.read(max(0, min(size, self._size - self._position)))
        self._position += len(content)
        return content

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


def _refuse_compressed(file: Path, part: _Part) -> None:
    start = part.read(_BLOCK)
    part.seek(0)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise UserError(f"{file} is compressed by {name}, in which nothing is found by position: unpack it to .tar")


def _check_member(file: Path, member: tarfile.TarInfo) -> None:
    name = shortened(member.name)
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{file} holds {name}, a path that leads out of the archive: do not use it, or make it again")
    if not (member.isreg() or member.isdir()):
        kind = "a link" if member.issym() or member.islnk() else "not a file"
        raise UserError(f"{file} holds {name}, which is {kind}: make the archive again with files alone")
    if member.issparse():
        raise UserError(f"{file} holds {name} with gaps (a sparse file): make the archive again without --sparse")
