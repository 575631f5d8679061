"""Photographs in class folders, decoded when they are read."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.prepare.photo import decode, images_ahead, in_order, read_header
from nofrost.prepare.pixels import batch_length
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Part, Source, SourceData, missing, register
from nofrost.prepare.sources.layout import Listing, find_layout, folders_in, same_folders
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
    """Photographs in class folders: root/<class>/..., or root/train/<class>/... and root/test (or val)/<class>/..."""

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
        if not path.is_dir():
            raise missing(path, "a folder of class folders with images")
        layout = find_layout(path)
        classes = tuple(folder.name for folder in folders_in(layout.train))
        if not classes:
            raise UserError(
                f"{layout.train} holds no class folders: put the images of each class into a folder of its own"
            )
        listing = Listing()
        splits = [_list(listing, layout.train, classes)]
        if layout.test is not None:
            _check_same_classes(classes, layout.train, layout.test)
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
            remarks=(
                *_same_folders(layout.train, classes),
                *(_unused(split) for split in layout.unused),
                *listing.remarks(),
            ),
        )


def _same_folders(root: Path, classes: tuple[str, ...]) -> list[str]:
    if len(classes) < 2 or not (folders := same_folders(root, classes)):
        return []
    return [
        f"the classes are {_first(classes)}; the folders in each of them ({_first(folders)}) are not told apart: if "
        "these are the classes, set dataset.path to a folder that holds them"
    ]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _unused(split: Path) -> str:
    return (
        f"the split {split.name} is left out, as test is there and the selection split is cut from train: put its "
        "images into train to use them"
    )


def _check_same_classes(classes: tuple[str, ...], train_root: Path, test_root: Path) -> None:
    test_classes = {folder.name for folder in folders_in(test_root)}
    for name in sorted(test_classes.symmetric_difference(classes)):
        present, absent = (test_root, train_root) if name in test_classes else (train_root, test_root)
        raise UserError(f"class folder {name!r} is in {present} but not in {absent}: both must hold the same classes")


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
                raise UserError(f"{path} cannot be read ({error.strerror}): check it") from None
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
