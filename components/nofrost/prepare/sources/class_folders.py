"""Image files in class folders."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.prepare.photo import FileImage
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.packed import PackedPaths
from nofrost.system_errors import cannot_read

CHECKSUM = "names and sizes of all files"


@dataclass(frozen=True)
class ClassFolders:
    """Image files below `root`, by class and then by path, and the class of each: int64 [N]."""

    root: Path
    files: PackedPaths
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)

    def image(self, row: int) -> FileImage:
        """Return the file of a row."""
        return FileImage(self.root / self.files[row])

    def images(self) -> Iterator[FileImage]:
        """Yield all files."""
        return map(self.image, range(len(self)))


def list_class_folders(listing: Listing, root: Path, classes: Sequence[str]) -> ClassFolders:
    """Return the images in the folders `classes` of `root`.

    Raises:
        UserError: a folder is empty or cannot be listed, or a link in it leads nowhere or in a circle.
    """
    files, counts = PackedPaths(), []
    for images in listing.images(root, classes):
        files.extend(images)
        counts.append(len(images))
    return ClassFolders(root, files, np.repeat(np.arange(len(classes), dtype=np.int64), counts))


def names_and_sizes(folders: Sequence[ClassFolders]) -> str:
    """Return the :func:`digest_of_sizes` of all files.

    Raises:
        UserError: a file cannot be looked at.
    """
    return digest_of_sizes(_sizes(folders))


def digest_of_sizes(files: Iterable[tuple[str, int]]) -> str:
    """Return the SHA-256 of all relative paths and file sizes, in hexadecimal.

    Not of the content, which would then be read twice.
    """
    digest = hashlib.sha256()
    for name, size in files:
        digest.update(os.fsencode(name) + b"\0%d\n" % size)
    return digest.hexdigest()


def _sizes(folders: Sequence[ClassFolders]) -> Iterator[tuple[str, int]]:
    for folder in folders:
        for row in range(len(folder)):
            name = folder.files[row]
            try:
                size = os.stat(os.path.join(folder.root, name)).st_size  # noqa: PTH116, PTH118  a million times
            except OSError as error:
                raise cannot_read(error, folder.root / name) from None
            yield name, size
