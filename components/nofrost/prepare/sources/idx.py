"""MNIST and its relatives: images and labels in IDX files, gzipped or not."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.prepare.sources.arrays import array_part, check_images, check_labels, numbered_classes
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Source, missing

_NAME = re.compile(r"(?:.+-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}
_CHUNK_BYTES = 1 << 24


def open_idx(path: Path, image_size: int | None) -> Source:
    """Return the images of the folder `path`, as MNIST is published, read into memory.

    Expected are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and for an own test split the same with
    ``t10k`` or ``test``; each may end in .gz, have '.' for the second '-', and a prefix such as ``emnist-``. Images are
    [N, H, W], or [N, H, W, C] in four dimensions.

    Raises:
        UserError: a file is missing, cut off or not IDX, or images and labels do not fit each other.
    """
    files = _find(path)
    train_images, train_labels = _pair(files["train-images"], files["train-labels"])
    test = _pair(files["test-images"], files["test-labels"]) if "test-images" in files else None
    return Source(
        name=path.resolve().name,
        classes=numbered_classes(train_labels, test and test[1]),
        train=array_part(train_images, train_labels, image_size),
        test=array_part(*test, image_size) if test else None,
        origin="IDX files " + ", ".join(sorted(file.name for file in files.values())),
        licence=UNKNOWN_LICENCE,
        checksums={file.name: "sha256:" + sha256_file(file) for file in files.values()},
    )


def _find(path: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        match = _NAME.fullmatch(file.name)
        if match is None or not file.is_file():
            continue
        role = f"{'train' if match[1] == 'train' else 'test'}-{match[2]}"
        if role in found and file.name != found[role].name + ".gz":  # a file beside its own archive is no conflict
            raise UserError(f"{path} holds {found[role].name} and {file.name}: keep the one that is meant")
        found.setdefault(role, file)
    for role in ("train-images", "train-labels") if found else ():
        if role not in found:
            raise UserError(f"{path} holds no file of {role} (such as {role}-idx1-ubyte.gz): add it")
    if not found:
        raise missing(path, "a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte (.gz or not)")
    if ("test-images" in found) != ("test-labels" in found):
        there = found.get("test-images") or found["test-labels"]
        raise UserError(f"{there} stands alone: add the {'labels' if 'images' in there.name else 'images'} file to it")
    return found


def _pair(images_file: Path, labels_file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = read_idx(images_file), read_idx(labels_file)
    check_images(images, str(images_file))
    return images, check_labels(labels, len(images), None, str(labels_file))


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file: two zero bytes, the type, the number of dimensions, the sizes (big-endian
    32-bit), then the values.

    Raises:
        UserError: the file is cut off, longer than its header says, or not IDX.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= 4:
                raise UserError(f"{file} does not begin like an IDX file of whole numbers: remove or replace it")
            dtype = np.dtype(_TYPES[magic[2]])
            sizes = np.frombuffer(_read(stream, 4 * magic[3], file), dtype=">u4").tolist()
            count = 1
            for size in sizes:
                count *= size
            values = np.frombuffer(_read(stream, count * dtype.itemsize, file), dtype=dtype)
            if stream.read(1):
                raise UserError(f"{file} is longer than its header says: remove or replace it")
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{file} is cut off or not gzip ({error}): replace it") from None
    return values.reshape(sizes)


def _read(stream: IO[bytes] | gzip.GzipFile, length: int, file: Path) -> bytearray:
    """Read in pieces, so that a header that lies about the size cannot claim memory that the file does not fill."""
    content = bytearray()
    while len(content) < length:
        piece = stream.read(min(_CHUNK_BYTES, length - len(content)))
        if not piece:
            raise UserError(f"{file} is cut off: {length} bytes should follow, {len(content)} do; replace it")
        content += piece
    return content
