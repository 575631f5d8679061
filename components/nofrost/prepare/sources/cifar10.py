"""CIFAR-10 in its published Python layout: the archive, or the folder it unpacks to.

The batches are pickles. They are read only if their MD5 is that of the published file, and even then by an
unpickler that allows three harmless names and refuses all others.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import tarfile
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import Part, Source, SourceData, explain_damage, missing, register
from nofrost.prepare.sources.in_memory import array_part

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
META_FILE = "batches.meta"
MD5 = {  # of the published files, as in torchvision.datasets.CIFAR10
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
_ALLOWED: dict[tuple[str, str], Any] = {
    # NumPy has moved the function that rebuilds arrays; an array's own reduction knows where it is.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.BZ2File, b"\xfd7zXZ\0": lzma.LZMAFile}
_LARGEST_ARCHIVE = 400_000_000  # bytes, unpacked; the published one has 186 MB
_LARGEST_BYTES = 32_000_000  # the published batches have 31 MB: a larger member of an archive is not read


@register("cifar10")
class Cifar10(Source):
    """The published archive or its folder at `path`, or a folder that holds either."""

    def open(self) -> SourceData:
        """Return the 50,000 training and 10,000 test images.

        Raises:
            UserError: there is none, a file is missing or damaged, or is not the published one (by its MD5).
        """
        path = Path(self.path)
        contents = _read_files(path)
        for name, expected in MD5.items():
            if name not in contents:
                raise UserError(f"{name} is missing in {path}: download and unpack {ARCHIVE} again")
            if hashlib.md5(contents[name], usedforsecurity=False).hexdigest() != expected:
                raise UserError(
                    f"{name} in {path} is not the published file (its MD5 differs): download {ARCHIVE} again"
                )
        batches = [_batch(contents.pop(name)) for name in (*TRAIN_FILES, TEST_FILE)]
        return SourceData(
            name="cifar10",
            classes=tuple(restricted_loads(contents[META_FILE])["label_names"]),
            train=_part(batches[:-1], self.image_size),
            test=_part(batches[-1:], self.image_size),
            origin="CIFAR-10 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), Python "
            "version, its own test split",
            licence="none declared by its authors; research use",
            checksums={name: f"md5:{MD5[name]}" for name in sorted(MD5)},
        )


def _read_files(path: Path) -> dict[str, bytes]:
    candidates = (path, path / FOLDER, path / ARCHIVE)
    for candidate in candidates:
        with explain_damage(candidate, "not an archive", f"download {ARCHIVE} again"):
            if regular_file(candidate).is_file():
                return _read_archive(candidate)
            if (candidate / TRAIN_FILES[0]).is_file():
                return {name: _content(candidate / name) for name in MD5 if (candidate / name).is_file()}
    raise missing(path, f"{ARCHIVE}, its folder {FOLDER}, or a folder with one of them")


def _content(file: Path) -> bytes:
    # a larger file is not the published one, as its MD5 will say
    with file.open("rb") as stream:
        return stream.read(_LARGEST_BYTES)


def _read_archive(path: Path) -> dict[str, bytes]:
    """Read the batches into memory; nothing is written to disk, so no member can be written outside a folder."""
    contents = {}
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _COMPRESSIONS.items() if start.startswith(magic)), nullcontext)
        with unpack(file) as stream, tarfile.open(fileobj=cast(Any, _Limited(stream, path)), mode="r:") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                content = archive.extractfile(member) if member.isfile() and member.size <= _LARGEST_BYTES else None
                if name in MD5 and content is not None:
                    contents[name] = content.read()
    return contents


class _Limited:
    """A stream that refuses to be read further than the published archive is long."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.stream = stream
        self.path = path

    def _check(self, position: int) -> None:
        if position > _LARGEST_ARCHIVE:
            raise UserError(f"{self.path} holds more than the published archive: download {ARCHIVE} again")

    def read(self, size: int) -> bytes:
        self._check(self.stream.tell() + size)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler of NumPy arrays only: it refuses every other name in a pickle without importing it."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UserError(
                f"a CIFAR-10 batch asks for {module}.{name}: it is not a published file, remove it"
            ) from None


def restricted_loads(content: bytes) -> Any:
    """Return the content of a published batch, which was written by Python 2 (text as latin-1).

    Raises:
        UserError: the pickle names anything but NumPy arrays.
    """
    return _RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()


def _batch(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    values = restricted_loads(content)
    return values["data"], np.asarray(values["labels"], dtype=np.int64)


def _part(batches: list[tuple[NDArray[np.uint8], NDArray[np.int64]]], image_size: int | None) -> Part:
    rows = np.concatenate([images for images, _ in batches])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # a view: pixels are put in order batch by batch
    return array_part(images, np.concatenate([labels for _, labels in batches]), image_size)
