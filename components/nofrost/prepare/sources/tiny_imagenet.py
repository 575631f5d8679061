"""Tiny ImageNet in its published layout: the zip file, or the folder it unpacks to."""

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, ClassVar, Protocol

import numpy as np

from nofrost.errors import UserError, shortened
from nofrost.limits import regular_file
from nofrost.prepare.photo import FileImage, ImageFile
from nofrost.prepare.sources.base import SourceData, explain_damage, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.class_folders import CHECKSUM, digest_of_sizes
from nofrost.prepare.sources.packed import PackedPaths
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.published_source import Published
from nofrost.system_errors import explain_read_errors

_CLASSES, _ANNOTATIONS = "wnids.txt", "val/val_annotations.txt"
_LARGEST_TEXT, _LARGEST_IMAGE = 10_000_000, 1_000_000  # bytes; the published ones are far smaller
_DAMAGE = "not a zip file", "download it again"


class _Place(Protocol):
    """Where the published files lie: paths are relative to the folder of the dataset."""

    def names(self, folder: str) -> Sequence[str]:
        """Return the names in a folder; none if it is not there."""

    def read(self, path: str) -> bytes:
        """Return the content of a file of text."""

    def image(self, path: str) -> ImageFile:
        """Return the image at a path."""

    def size(self, path: str) -> int:
        """Return its number of bytes."""


@register("tiny-imagenet")
class TinyImageNet(Published):
    """The published zip file or its folder at `path`, or a folder that holds either.

    The test split is the published validation split; the labels of the test images were never published. Classes are
    WordNet ids, in the order of ``wnids.txt``.
    """

    holds_photographs: ClassVar[bool] = True

    def open(self) -> SourceData:
        """Return the photographs, of 64 x 64 pixels, by class and then by name.

        Raises:
            UserError: there are none, the zip is not the published one (by its MD5), or an image, a class or a label is
                missing.
        """
        self.fetch()
        place, checksums = self._place()
        classes = tuple(_text(place, _CLASSES, self.path).split())
        labels_of = {name: label for label, name in enumerate(classes)}
        train = [_of_class(place, name, self.path) for name in classes]
        if others := set(place.names("train")) - set(classes):
            raise UserError(f"{self.path}: train holds {min(others)}, which {_CLASSES} does not name: remove it")
        val: list[list[str]] = [[] for _ in classes]
        for name, wordnet_id in _annotations(place, self.path):
            if wordnet_id not in labels_of:
                raise UserError(
                    f"{self.path}: {_ANNOTATIONS} has the class {shortened(wordnet_id)}, which {_CLASSES} lacks: "
                    f"unpack {self.card.files[0].name} again"
                )
            val[labels_of[wordnet_id]].append(f"val/images/{name}")
        splits = {"train": train, "validation": val}
        for split, paths in splits.items():
            _check_count(sum(map(len, paths)), self.card.images[split], split, self.path)
        if not checksums:
            sizes = ((path, place.size(path)) for path in chain(*train, *val))
            checksums = {CHECKSUM: f"sha256:{digest_of_sizes(sizes)}"}
        packed = {split: PackedPaths(chain(*paths)) for split, paths in splits.items()}
        images = (place.image(path) for each in packed.values() for path in map(each.__getitem__, range(len(each))))
        shape = common_shape(self, images, sum(map(len, packed.values())))
        parts = [
            photograph_part(
                self,
                np.repeat(np.arange(len(classes), dtype=np.int64), list(map(len, splits[split]))),
                _reader(place, paths),
                shape,
            )
            for split, paths in packed.items()
        ]
        return self.data(parts[0], parts[1], checksums, classes)

    def _place(self) -> tuple[_Place, dict[str, str]]:
        path, archive = self.archive_or_folder([_CLASSES]), self.card.files[0]
        if path.is_dir():
            return _Folder(path), {}
        checksums = check_file(path, archive)
        return _Zip.of(path, str(archive.folder)), checksums


@dataclass(frozen=True)
class _Folder:
    root: Path

    def names(self, folder: str) -> Sequence[str]:
        path = self.root / folder
        with explain_read_errors(path):
            entries = path.iterdir() if path.is_dir() else iter(())
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))

    def read(self, path: str) -> bytes:
        file = regular_file(self.root / path)
        with explain_read_errors(file), file.open("rb") as stream:
            return stream.read(_LARGEST_TEXT)

    def image(self, path: str) -> ImageFile:
        return FileImage(self.root / path)

    def size(self, path: str) -> int:
        with explain_read_errors(self.root / path):
            return (self.root / path).stat().st_size


@dataclass(frozen=True)
class _Zip:
    """The zip file, which stays open; its members can be read by several threads."""

    path: Path
    archive: zipfile.ZipFile
    top: str
    by_folder: dict[str, list[str]]

    @classmethod
    def of(cls, path: Path, top: str) -> "_Zip":
        with explain_damage(path, *_DAMAGE):
            archive = zipfile.ZipFile(path)
            by_folder: dict[str, list[str]] = defaultdict(list)
            for name in archive.namelist():
                folder, _, base = name.removesuffix("/").rpartition("/")
                by_folder[folder].append(base)
            return cls(path, archive, top, {folder: sorted(names) for folder, names in by_folder.items()})

    def names(self, folder: str) -> Sequence[str]:
        return self.by_folder.get(f"{self.top}/{folder}", [])

    def read(self, path: str) -> bytes:
        return self._content(path, _LARGEST_TEXT)

    def image(self, path: str) -> ImageFile:
        return _ZipImage(self, path)

    def size(self, path: str) -> int:
        with explain_damage(self.path, *_DAMAGE):
            return self.archive.getinfo(f"{self.top}/{path}").file_size

    def _content(self, path: str, most: int) -> bytes:
        with explain_damage(self.path, *_DAMAGE):
            if self.size(path) > most:
                raise UserError(f"{self.path}: {path} has {self.size(path):,} bytes, far too many: download it again")
            return self.archive.read(f"{self.top}/{path}")


@dataclass(frozen=True)
class _ZipImage:
    place: _Zip
    path: str

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.place._content(self.path, _LARGEST_IMAGE))

    def __str__(self) -> str:
        return f"{self.place.path}: {self.path}"


def _reader(place: _Place, paths: PackedPaths) -> Callable[[int], ImageFile]:
    return lambda row: place.image(paths[row])


def _text(place: _Place, path: str, origin: str) -> str:
    try:
        return place.read(path).decode()
    except UnicodeDecodeError:
        raise UserError(f"{origin}: {path} is not text: unpack the published file again") from None


def _of_class(place: _Place, name: str, origin: str) -> list[str]:
    folder = f"train/{name}/images"
    names = place.names(folder)
    if not names:
        raise UserError(f"{origin} holds no images of class {name} ({folder}): unpack the published file again")
    return [f"{folder}/{image}" for image in names]


def _annotations(place: _Place, origin: str) -> list[tuple[str, str]]:
    """Return name and class of each validation image, sorted by the number in its name.

    Raises:
        UserError: the list is not there or damaged, or names an image that is not there.
    """
    there = set(place.names("val/images"))
    if not there:
        raise UserError(f"{origin} holds no val/images: leave the validation images where the published file has them")
    rows = [line.split("\t") for line in _text(place, _ANNOTATIONS, origin).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or row[0] not in there:
            raise UserError(
                f"{origin}: line {number} of {_ANNOTATIONS} names no image of val/images ({shortened(row[0])}): unpack "
                "the published file again"
            )
    return sorted(((row[0], row[1]) for row in rows), key=lambda row: (len(row[0]), row[0]))


def _check_count(count: int, published: int, split: str, origin: str) -> None:
    if count != published:
        raise UserError(
            f"{origin} holds {count:,} {split} images, the published dataset {published:,}: unpack it again, or read "
            "it with source folder"
        )
