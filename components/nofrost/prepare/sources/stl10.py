"""STL-10's labelled images in their published binary layout: the archive, or the folder it unpacks to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UserError
from nofrost.prepare.pixels import batch_length, resize_batch
from nofrost.prepare.sources.archives import named_members
from nofrost.prepare.sources.base import Part, SourceData, explain_damage, register
from nofrost.prepare.sources.checksums import check_file, check_stream
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.sources.streamed import StreamedArray

_SIDE = 96
_IMAGE_BYTES = 3 * _SIDE * _SIDE
_LARGEST_ARCHIVE = 4_000_000_000  # bytes, unpacked; the published one has 3.1 GB
_LARGEST_MEMBER = 300_000_000  # the images without labels, which have 2.8 GB, are not read


@register("stl10")
class Stl10(Published):
    """The published archive or its folder at `path`, or a folder that holds either: 5,000 and 8,000 images.

    Without unpacking, the archive is read several times.
    """

    def open(self) -> SourceData:
        """Return the labelled images, read image by image.

        Raises:
            UserError: there is none, a file is missing or damaged, or is not the published one (by its MD5).
        """
        self.fetch()
        archive = self.card.files[0]
        place = self.archive_or_folder([member.name for member in archive.members])
        with explain_damage(place, "not an archive", f"download {archive.name} again"):
            checksums = _check(place, archive)
        train, test = (self._part(place, f"{name}_X.bin", f"{name}_y.bin") for name in ("train", "test"))
        return self.data(train, test, checksums)

    def _part(self, place: Path, images_name: str, labels_name: str) -> Part:
        with _opened(place, labels_name) as stream:
            labels = np.frombuffer(stream.read(), np.uint8).astype(np.int64) - 1
        shape = (len(labels), 3, _SIDE, _SIDE)
        images = StreamedArray(
            f"{images_name} of {place}", shape, np.dtype(np.uint8), lambda: _opened(place, images_name)
        )

        def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
            for batch in images.rows(rows):
                # stored column by column, as MATLAB does
                pixels = batch.transpose(0, 3, 2, 1)
                step = batch_length((_SIDE, _SIDE, 3))
                for start in range(0, len(pixels), step):
                    yield np.ascontiguousarray(resize_batch(pixels[start : start + step], self.image_size))

        side = self.image_size or _SIDE
        return Part(labels, (side, side, 3), read)


def _check(place: Path, archive: PublishedFile) -> dict[str, str]:
    """Return the checksums of all files, in the order of the card, after comparing them."""
    checksums: dict[str, str] = {}
    if place.is_dir():
        for member in archive.members:
            checksums |= check_file(place / member.name, member, archive)
        return checksums
    for name, content in _members(place, [member.name for member in archive.members]):
        checksums |= check_stream(content, place, archive.member(name), archive)
    for member in archive.members:
        if member.name not in checksums:
            raise UserError(f"{member.name} is missing in {place}: download {archive.name} again")
    return {member.name: checksums[member.name] for member in archive.members}


def _members(place: Path, names: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    return named_members(place, names, most_bytes=_LARGEST_ARCHIVE, largest_member=_LARGEST_MEMBER)


@contextmanager
def _opened(place: Path, name: str) -> Iterator[IO[bytes]]:
    with explain_damage(place, "not an archive", "download it again"):
        if place.is_dir():
            with (place / name).open("rb") as stream:
                yield stream
            return
        for _, content in _members(place, [name]):
            yield content
            return
