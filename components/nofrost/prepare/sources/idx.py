"""IDX files such as MNIST's."""

import gzip
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.limits import check_expansion, regular_file
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Part, Source, SourceData, explain_damage, missing, register
from nofrost.prepare.sources.streamed import (
    StreamedArray,
    check_images,
    check_labels,
    numbered_classes,
    streamed_part,
)

_NAME = re.compile(r"(?:.+-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_ANY_NAME = re.compile(r".*[-.]idx\d-[a-z]+(\.gz)?")
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}


@register("idx")
class Idx(Source):
    """MNIST and its relatives: images and labels in IDX files, gzipped or not."""

    def open(self) -> SourceData:
        """Return the images of the folder `path`, as MNIST is published, read row by row.

        Expected are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and for a test split of its own the
        same with ``t10k`` or ``test``; each may end in .gz, have '.' for the second '-', and a prefix such as
        ``emnist-``. Images are [N, H, W], or [N, H, W, C] in four dimensions.

        Raises:
            UserError: a file is missing, cut off or not IDX, or images and labels do not fit each other.
        """
        path = regular_file(Path(self.path))
        files, unused = _find(path)
        train, *test = (
            idx_part(files[f"{name}-images"], files[f"{name}-labels"], None, self.image_size)
            for name in ("train", "test")
            if f"{name}-images" in files
        )
        return SourceData(
            name=path.resolve().name,
            classes=numbered_classes(*(part.labels for part in (train, *test))),
            train=train,
            test=test[0] if test else None,
            origin="IDX files " + ", ".join(sorted(file.name for file in files.values())),
            licence=UNKNOWN_LICENCE,
            checksums={file.name: "sha256:" + sha256_file(file) for file in files.values()},
            remarks=(f"{', '.join(unused)} in {path.name} are left out",) if unused else (),
        )


def idx_part(images_file: Path, labels_file: Path, n_classes: int | None, image_size: int | None) -> Part:
    """Return images and labels of two IDX files as a part of a source.

    Args:
        n_classes: number of classes; None to derive it from the labels.
        image_size: side in pixels to which the images are resized; None keeps their size.

    Raises:
        UserError: a file is cut off or not IDX, or images and labels do not fit each other.
    """
    images = open_idx(images_file)
    check_images(images)
    return streamed_part(images, check_labels(open_idx(labels_file), len(images), n_classes), image_size)


def _find(path: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the files by role, and the names of IDX files that have none."""
    files: dict[str, Path] = {}
    unused = []
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        match = _NAME.fullmatch(file.name)
        if match is None or not file.is_file():
            if _ANY_NAME.fullmatch(file.name):
                unused.append(file.name)
            continue
        role = f"{'train' if match[1] == 'train' else 'test'}-{match[2]}"
        # a file and its own .gz do not conflict
        if role in files and file.name != files[role].name + ".gz":
            raise UserError(f"{path} holds {files[role].name} and {file.name}: keep the one that is meant")
        files.setdefault(role, file)
    if not files:
        raise missing(path, "a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz or not)")
    for role in ("train-images", "train-labels"):
        if role not in files:
            raise UserError(f"{path} holds no file of {role} (such as {role}-idx1-ubyte.gz): add it")
    if ("test-images" in files) != ("test-labels" in files):
        single = files.get("test-images") or files["test-labels"]
        absent = "labels" if "images" in single.name else "images"
        raise UserError(f"{single} stands alone: add the {absent} file to it")
    return files, unused


def open_idx(file: Path) -> StreamedArray:
    """Return the array of an IDX file.

    The file has two zero bytes, the type, the number of dimensions, the sizes (big-endian, 32 bits), then the values.

    Raises:
        UserError: the file is cut off, longer than its header says, or not IDX.
    """
    with _decompressed(file) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
            raise UserError(f"{file} does not begin like an IDX file of whole numbers: remove or replace it")
        header = stream.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise UserError(f"{file} is cut off in its header: replace it")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    offset, size = 4 + len(header), file.stat().st_size
    length = offset + math.prod(shape) * dtype.itemsize
    if file.suffix == ".gz":
        check_expansion(length, size, str(file))
    elif length != size:
        fault = "cut off" if size < length else "longer than its header says"
        raise UserError(f"{file} is {fault}: it has {size:,} bytes of {length:,}; remove or replace it")

    @contextmanager
    def values() -> Iterator[IO[bytes]]:
        with _decompressed(file) as stream:
            stream.read(offset)
            yield stream

    return StreamedArray(str(file), shape, dtype, values)


@contextmanager
def _decompressed(file: Path) -> Iterator[IO[bytes]]:
    with explain_damage(file, "not gzip", "replace it"):
        if file.suffix == ".gz":
            with gzip.open(file) as compressed:
                yield cast(IO[bytes], compressed)
        else:
            with file.open("rb") as stream:
                yield stream
