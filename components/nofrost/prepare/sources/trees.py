"""Folders of class folders with photographs, unpacked or in tars that are read where they lie."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nofrost.prepare.photo import ImageFile
from nofrost.prepare.sources.class_folders import ClassFolders, digest_of_sizes, list_class_folders, names_and_sizes
from nofrost.prepare.sources.folders import folders_in, is_image
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.packed import PackedPaths
from nofrost.prepare.sources.tars import TarImages, tar_members


class ImageFiles(Protocol):
    """Photographs by class and then by name: their class, int64 [N], and their files."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each."""

    def __len__(self) -> int: ...

    def image(self, row: int) -> ImageFile:
        """Return the file of a row."""

    def images(self) -> Iterator[ImageFile]:
        """Yield all files."""


@dataclass(frozen=True)
class ListedImages:
    """The photographs of class folders, their paths in there, and a digest of paths and sizes."""

    files: ImageFiles
    paths: PackedPaths
    digest: str


class Tree(Protocol):
    """Where class folders lie; paths are relative to it, and empty for itself."""

    def folders(self, inside: str = "") -> list[str]:
        """Return the sorted names of the folders in a folder."""

    def listed(self, inside: str, classes: Sequence[str]) -> ListedImages:
        """Return the photographs in the folders `classes` of a folder."""


@dataclass(frozen=True)
class FolderTree:
    """Folders on the disk; `listing` counts what is left out."""

    root: Path
    listing: Listing

    def folders(self, inside: str = "") -> list[str]:
        """Return the sorted names of the folders in a folder; none if it is not there.

        Raises:
            UserError: it cannot be listed.
        """
        folder = self.root / inside
        return [entry.name for entry in folders_in(folder)] if folder.is_dir() else []

    def listed(self, inside: str, classes: Sequence[str]) -> ListedImages:
        """Return the photographs in the folders `classes` of a folder.

        Raises:
            UserError: as :func:`list_class_folders`.
        """
        found: ClassFolders = list_class_folders(self.listing, self.root / inside, classes)
        return ListedImages(found, found.files, names_and_sizes([found]))


class TarTree:
    """The last folders of the paths of photographs in tars; millions of them take little memory."""

    def __init__(
        self, archives: Sequence[Path], depth: int = 1, is_wanted: Callable[[str], bool] = lambda folder: True
    ) -> None:
        """List the photographs in uncompressed tars.

        Args:
            depth: how many of the last folders of a path count; the last is that of a class.
            is_wanted: whether the photographs in a folder are kept.

        Raises:
            UserError: as :func:`tar_members`.
        """
        self.archives = archives
        self._names = PackedPaths()
        self._rows: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self._numbers, self._offsets, self._sizes = array("i"), array("q"), array("q")
        for number, archive in enumerate(archives):
            for member in tar_members(archive):
                *parents, name = member.name.split("/")
                folder = "/".join(parents[-depth:])
                if is_image(name) and is_wanted(folder):
                    self._rows[folder].append(len(self._names))
                    self._names.extend((name,))
                    self._numbers.append(number)
                    self._offsets.append(member.offset)
                    self._sizes.append(member.size)

    def folders(self, inside: str = "") -> list[str]:
        """Return the sorted names of the folders in a folder."""
        prefix = f"{inside}/" if inside else ""
        return sorted({path[len(prefix) :].partition("/")[0] for path in self._rows if path.startswith(prefix)})

    def listed(self, inside: str, classes: Sequence[str]) -> ListedImages:
        """Return the photographs in the folders `classes` of a folder."""
        found = [
            sorted(self._rows.get(f"{inside}/{name}" if inside else name, ()), key=self._names.__getitem__)
            for name in classes
        ]
        rows = np.array([row for each in found for row in each], dtype=np.int64)
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), list(map(len, found)))
        paths = PackedPaths(
            f"{name}/{self._names[row]}" for name, each in zip(classes, found, strict=True) for row in each
        )
        sizes = np.frombuffer(self._sizes, np.int64)[rows]
        images = TarImages(
            self.archives,
            np.frombuffer(self._numbers, np.int32)[rows],
            np.frombuffer(self._offsets, np.int64)[rows],
            sizes,
            labels,
        )
        named = zip(map(paths.__getitem__, range(len(paths))), sizes.tolist(), strict=True)
        return ListedImages(images, paths, digest_of_sizes(named))
