"""Folders of class folders with photographs, unpacked or in tars that are read where they lie."""

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


class Images(Protocol):
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

    files: Images
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


@dataclass(frozen=True)
class TarTree:
    """The last folders of the paths in tars: name, number of the tar, offset and size of each photograph in them."""

    archives: Sequence[Path]
    members: dict[str, list[tuple[str, int, int, int]]]

    @classmethod
    def of(
        cls, archives: Sequence[Path], depth: int = 1, is_wanted: Callable[[str], bool] = lambda folder: True
    ) -> "TarTree":
        """List the photographs in uncompressed tars.

        Args:
            depth: how many of the last folders of a path count; the last is that of a class.
            is_wanted: whether the photographs in a folder are kept.

        Raises:
            UserError: as :func:`tar_members`.
        """
        members: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)
        for number, archive in enumerate(archives):
            for member in tar_members(archive):
                *parents, name = member.name.split("/")
                folder = "/".join(parents[-depth:])
                if is_image(name) and is_wanted(folder):
                    members[folder].append((name, number, member.offset, member.size))
        return cls(archives, {folder: sorted(found) for folder, found in members.items()})

    def folders(self, inside: str = "") -> list[str]:
        """Return the sorted names of the folders in a folder."""
        prefix = f"{inside}/" if inside else ""
        return sorted({path[len(prefix) :].partition("/")[0] for path in self.members if path.startswith(prefix)})

    def listed(self, inside: str, classes: Sequence[str]) -> ListedImages:
        """Return the photographs in the folders `classes` of a folder."""
        found = [self.members.get(f"{inside}/{name}" if inside else name, []) for name in classes]
        positions = np.array([member[1:] for each in found for member in each], dtype=np.int64).reshape(-1, 3)
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(each) for each in found])
        paths = [f"{name}/{member[0]}" for name, each in zip(classes, found, strict=True) for member in each]
        numbers, offsets, sizes = positions.T
        images = TarImages(self.archives, numbers.astype(np.int32), offsets, sizes, labels)
        return ListedImages(
            images, PackedPaths(paths), digest_of_sizes(zip(paths, map(int, sizes.tolist()), strict=True))
        )
