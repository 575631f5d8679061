"""CIFAR-10 and CIFAR-100 in their published Python layout: the archive, or the folder it unpacks to.

The batches are pickles. They are read only if their MD5 is that of the published file, and even then by an
unpickler that allows three harmless names and refuses all others.
"""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nofrost.data.dataset_card import PublishedFile
from nofrost.errors import UserError
from nofrost.prepare.sources.archives import named_members
from nofrost.prepare.sources.base import Part, SourceData, explain_damage, register
from nofrost.prepare.sources.checksums import not_published
from nofrost.prepare.sources.in_memory import array_part
from nofrost.prepare.sources.published_source import Published

_ALLOWED: dict[tuple[str, str], Any] = {
    # NumPy has moved the function that rebuilds arrays; an array's own reduction knows where it is.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_LARGEST_ARCHIVE = 400_000_000  # bytes, unpacked; the published ones have 186 MB


class _Cifar(Published):
    """The published archive or its folder at `path`, or a folder that holds either."""

    train_files: ClassVar[tuple[str, ...]]
    test_file: ClassVar[str]
    largest_member: ClassVar[int]

    def read(self) -> dict[str, bytes]:
        """Return the published files by name.

        Raises:
            UserError: there is none, one is missing or damaged, or is not the published one (by its MD5).
        """
        self.fetch()
        path, archive = Path(self.path), self.card.files[0]
        contents = self._contents(archive)
        for file in archive.members:
            if file.name not in contents:
                raise UserError(f"{file.name} is missing in {path}: download and unpack {archive.name} again")
            if hashlib.md5(contents[file.name], usedforsecurity=False).hexdigest() != file.md5:
                raise not_published(path, file, archive)
        return contents

    def _contents(self, archive: PublishedFile) -> dict[str, bytes]:
        names = [member.name for member in archive.members]
        place = self.archive_or_folder(self.train_files[:1])
        with explain_damage(place, "not an archive", f"download {archive.name} again"):
            if place.is_dir():
                files = {name: place / name for name in names}
                return {name: self._content(file) for name, file in files.items() if file.is_file()}
            limits = {"most_bytes": _LARGEST_ARCHIVE, "largest_member": self.largest_member}
            return {name: content.read() for name, content in named_members(place, names, **limits)}

    def _content(self, file: Path) -> bytes:
        # a larger file is not the published one, as its MD5 will say
        with file.open("rb") as stream:
            return stream.read(self.largest_member)

    def made_of(self, contents: dict[str, bytes], labels: str, classes: tuple[str, ...]) -> SourceData:
        """Return the images of the batches with the labels of this key."""
        train, test = (
            _part([restricted_loads(contents.pop(name)) for name in names], labels, self.image_size)
            for names in (self.train_files, (self.test_file,))
        )
        members = sorted(self.card.files[0].members, key=lambda member: member.name)
        return self.data(train, test, {member.name: f"md5:{member.md5}" for member in members}, classes)


@register("cifar10")
class Cifar10(_Cifar):
    """CIFAR-10: 50,000 training and 10,000 test images."""

    train_files = tuple(f"data_batch_{number}" for number in range(1, 6))
    test_file = "test_batch"
    largest_member = 32_000_000  # the published batches have 31 MB: a larger member of an archive is not read

    def open(self) -> SourceData:
        """Return the images; raises like :meth:`read`."""
        contents = self.read()
        names = restricted_loads(contents["batches.meta"])["label_names"]
        return self.made_of(contents, "labels", tuple(names))


@register("cifar100")
class Cifar100(_Cifar):
    """CIFAR-100: 50,000 training and 10,000 test images.

    Attributes:
        labels: those of the 100 classes (fine) or of their 20 groups (coarse).
    """

    labels: Literal["fine", "coarse"] = "fine"

    train_files = ("train",)
    test_file = "test"
    largest_member = 160_000_000  # the published file of training images has 155 MB

    def open(self) -> SourceData:
        """Return the images; raises like :meth:`read`."""
        contents = self.read()
        names = restricted_loads(contents["meta"])[f"{self.labels}_label_names"]
        return self.made_of(contents, f"{self.labels}_labels", tuple(names))


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler of NumPy arrays only: it refuses every other name in a pickle without importing it."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UserError(f"a CIFAR batch asks for {module}.{name}: it is not a published file, remove it") from None


def restricted_loads(content: bytes) -> Any:
    """Return the content of a published batch, which was written by Python 2 (text as latin-1).

    Raises:
        UserError: the pickle names anything but NumPy arrays.
    """
    return _RestrictedUnpickler(io.BytesIO(content), encoding="latin1").load()


def _part(batches: list[dict[str, Any]], labels: str, image_size: int | None) -> Part:
    rows: NDArray[np.uint8] = np.concatenate([batch["data"] for batch in batches])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # a view: pixels are put in order batch by batch
    return array_part(images, np.concatenate([np.asarray(batch[labels], np.int64) for batch in batches]), image_size)
