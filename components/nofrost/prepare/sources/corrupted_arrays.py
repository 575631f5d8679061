"""CIFAR-10-C and CIFAR-100-C: an array of images for each corruption, the severities one after another."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config.corruption_families import COMMON, SEVERITIES
from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import SourceData, explain_damage, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.corrupted import CorruptedSource
from nofrost.prepare.sources.in_memory import array_part
from nofrost.prepare.sources.npz import read_npy_header
from nofrost.prepare.sources.tars import read_bytes, tar_members

_SIDE = 32
_HEADER_BYTES = 1 << 12


@dataclass(frozen=True)
class _Stored:
    """An .npy file, or a stretch of a tar that is one."""

    file: Path
    offset: int
    size: int
    name: str

    def array(self) -> NDArray[Any]:
        """Return the array, memory-mapped.

        Raises:
            UserError: it is cut off or no plain array.
        """
        remedy = "download it again"
        head = io.BytesIO(read_bytes(self.file, self.offset, min(self.size, _HEADER_BYTES)))
        with explain_damage(self.file, f"has no array in {self.name}", remedy):
            shape, is_fortran, dtype = read_npy_header(head)
        expected = head.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if expected != self.size:
            raise UserError(
                f"{self.name} in {self.file.parent if self.file.name == self.name else self.file} is cut off or "
                f"damaged: it has {self.size:,} bytes, its header says {expected:,}; {remedy}"
            )
        order: Any = "F" if is_fortran else "C"
        return np.memmap(self.file, dtype, "r", self.offset + head.tell(), shape, order)


class _CifarC(CorruptedSource):
    """The published archive or its folder at `path`, or a folder that holds either."""

    def open(self) -> SourceData:
        """Return the corrupted images, in the order of the clean test images.

        Raises:
            UserError: there are none, the archive is not the published one (by its MD5), a corruption is missing, or an
                array is cut off or has another number of images than was published.
        """
        self.fetch()
        place = self.archive_or_folder([f"{name}.npy" for name in (*COMMON, "labels")])
        stored, checksums = self._files(place)
        self.check_corruptions([name for name in self.names() if f"{name}.npy" in stored])
        if "labels.npy" not in stored:
            raise UserError(f"{place} lacks labels.npy: download {self.card.files[0].name} again")
        rows = self.card.images["corrupted"] // len(COMMON)
        labels = self._labels(stored["labels.npy"], rows)
        count = rows // len(SEVERITIES)
        conditions = {}
        for name in self.names():
            images = stored[f"{name}.npy"].array()
            if images.shape != (rows, _SIDE, _SIDE, 3) or images.dtype != np.uint8:
                raise UserError(
                    f"{name}.npy in {place} is {images.dtype} {list(images.shape)}, published were uint8 "
                    f"{[rows, _SIDE, _SIDE, 3]}, {count:,} images of each severity: download it again"
                )
            for severity in self.levels():
                part = images[(severity - 1) * count : severity * count]
                conditions[f"{name}-{severity}"] = array_part(part, labels[:count], self.image_size)
        first = next(iter(conditions.values()))
        return self.data(first, None, checksums, self.card.class_names, conditions=conditions)

    def _files(self, place: Path) -> tuple[dict[str, _Stored], dict[str, str]]:
        """Return the arrays by the names of their files, and the checksums of what is read."""
        if place.is_file():
            checksums = check_file(place, self.card.files[0])
            members = ((member.name.rpartition("/")[2], member) for member in tar_members(place))
            return {name: _Stored(place, each.offset, each.size, name) for name, each in members}, checksums
        files = [place / f"{name}.npy" for name in (*self.names(), "labels")]
        there = [file for file in files if regular_file(file).is_file()]
        stored = {file.name: _Stored(file, 0, file.stat().st_size, file.name) for file in there}
        return stored, {file.name: f"sha256:{sha256_file(file)}" for file in there}

    def _labels(self, stored: _Stored, rows: int) -> NDArray[np.int64]:
        labels = stored.array()
        classes = len(self.card.class_names)
        if labels.shape != (rows,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f"labels.npy in {self.path} must be {rows:,} whole numbers from 0 to {classes - 1}: download it again"
            )
        by_severity = labels.reshape(len(SEVERITIES), -1)
        if (by_severity != by_severity[0]).any():
            raise UserError(
                f"labels.npy in {self.path} differs between severities, whose images are the same: download it again"
            )
        return labels.astype(np.int64)


@register("cifar10-c")
class Cifar10C(_CifarC):
    """CIFAR-10-C: the test images of CIFAR-10, corrupted."""


@register("cifar100-c")
class Cifar100C(_CifarC):
    """CIFAR-100-C: the test images of CIFAR-100, corrupted; its labels are the fine ones."""
