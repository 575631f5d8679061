"""Photographs in class folders, decoded when they are read."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nofrost.data.parallel import in_order
from nofrost.errors import UserError
from nofrost.prepare.photo import decode, images_ahead, read_header
from nofrost.prepare.pixels import batch_length
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Part, Source, SourceData, missing, register
from nofrost.prepare.sources.folders import folders_in
from nofrost.prepare.sources.layout import check_same_classes, find_layout
from nofrost.prepare.sources.listing import Listing
from nofrost.system_errors import cannot_read
from nofrost.telemetry import progress


@dataclass(frozen=True)
class _Files:
    """Image files under `root`, by class and then by path, relative to it, and the label of each."""

    root: Path
    files: list[str]
    labels: NDArray[np.int64]

    def paths(self) -> Iterator[Path]:
        return (Path(self.root, file) for file in self.files)


@register("folder")
class Folder(Source):
    """Photographs in class folders: root/<class>/..., or root/train/<class>/... and root/test (or val)/<class>/...

    Attributes:
        splits: paths in the root of the training and the test split, or of the first alone, where their names do not
            say it; an empty list if all folders are classes.
    """

    splits: tuple[str, ...] | None = Field(default=None, max_length=2)

    def inputs(self, out: Path) -> list[Path]:
        """Return the whole folder, in which a dataset would be a class."""
        return [Path(self.path)]

    def open(self) -> SourceData:
        """Return the images of the class folders in `path`, in the order of their sorted paths.

        They are decoded when they are read, by a few threads. Files and folders whose name begins with a dot are left
        out; other files that do not end like an image are counted in a remark. Links are followed. All images are
        grey, or all are read as colour. Without `image_size` they must have one size.

        Raises:
            UserError: there are no class folders, one is empty, splits may be taken for classes, or an image is damaged
                or of another size; the message names it.
        """
        path = Path(self.path)
        if path.is_file():
            raise UserError(f"dataset.path {path} is a file: unpack it if it is an archive, and name the folder")
        if not path.is_dir():
            raise missing(path, "a folder of class folders with images")
        layout = find_layout(path, self.splits)
        classes = tuple(folder.name for folder in folders_in(layout.train))
        if not classes:
            raise UserError(
                f"{layout.train} holds no class folders: put the images of each class into a folder of its own"
            )
        listing = Listing(layout.is_given)
        splits = [_list(listing, layout.train, classes)]
        if layout.test is not None:
            check_same_classes(classes, layout, path)
            splits.append(_list(listing, layout.test, classes))
        shape = _shape(splits, self.image_size)
        parts = [_part(split, shape, self.image_size) for split in splits]
        return SourceData(
            name=path.resolve().name,
            classes=classes,
            train=parts[0],
            test=parts[1] if layout.test else None,
            origin=f"class folders of {path.resolve().name}"
            + (f", test split {layout.test.name}" if layout.test else ""),
            licence=UNKNOWN_LICENCE,
            checksums={"names and sizes of all files": "sha256:" + _checksum(splits)},
            remarks=(*layout.remarks(), *listing.remarks()),
        )


def _list(listing: Listing, root: Path, classes: tuple[str, ...]) -> _Files:
    images = listing.images(root, classes)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), list(map(len, images)))
    return _Files(root, list(chain.from_iterable(images)), labels)


def _checksum(splits: list[_Files]) -> str:
    """Return the SHA-256 of all relative paths and file sizes."""
    # not of the content, which would then be read twice
    digest = hashlib.sha256()
    for split in splits:
        for file, path in zip(split.files, split.paths(), strict=True):
            try:
                size = path.stat().st_size
            except OSError as error:
                raise cannot_read(error, path) from None
            digest.update(os.fsencode(file) + b"\0%d\n" % size)
    return digest.hexdigest()


def _shape(splits: list[_Files], image_size: int | None) -> tuple[int, int, int]:
    """Return the (H, W, C) of all images; reads no more headers than needed."""
    paths = chain.from_iterable(split.paths() for split in splits)
    headers = in_order(lambda path: (path, read_header(path)), paths)
    if image_size is not None:
        # the first colour image decides, usually the very first
        return image_size, image_size, 1 if all(header.grey for _, header in headers) else 3
    first = next(headers)[1]
    grey = first.grey
    with progress("headers", total=sum(len(split.files) for split in splits), done=1) as bar:
        for path, header in headers:
            _check_size(path, header.size, first.size)
            grey = grey and header.grey
            bar.advance()
    return *first.size, 1 if grey else 3


def _check_size(path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    if size != expected:
        raise UserError(
            f"{path} is {size[1]}x{size[0]} pixels, the images before it {expected[1]}x{expected[0]}: "
            "set dataset.image_size to bring all to one size"
        )


def _part(split: _Files, shape: tuple[int, int, int], image_size: int | None) -> Part:
    def decode_row(row: np.int64) -> NDArray[np.uint8]:
        path = Path(split.root, split.files[row])
        image = decode(path, shape[2], image_size)
        _check_size(path, image.shape[:2], shape[:2])
        return image

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        images = in_order(decode_row, rows, images_ahead(int(np.prod(shape))))
        while group := list(islice(images, batch_length(shape))):
            yield np.stack(group)

    return Part(split.labels, shape, read)
