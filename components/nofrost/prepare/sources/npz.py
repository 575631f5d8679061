"""Arrays in .npz files."""

import io
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from nofrost.config.base import first_duplicate
from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.limits import check_expansion, regular_file
from nofrost.prepare.sources.base import (
    UNKNOWN_LICENCE,
    Part,
    Source,
    SourceData,
    explain_damage,
    missing,
    register,
)
from nofrost.prepare.sources.streamed import (
    StreamedArray,
    check_images,
    check_labels,
    check_names,
    numbered_classes,
    streamed_part,
)

# images and labels of the training part, then those of the test part
_KEYS = (
    ("images", "labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_NAMES_SHOWN = 12
_HEADER_BYTES = 1 << 14  # more than numpy reads of one
_KIND = "not a .npz file of plain arrays", "save it again with numpy.savez"


@register("npz")
class Npz(Source):
    """Arrays in a .npz file: `images` and `labels`, or as Keras (`x_train`) or MedMNIST (`train_images`) call them."""

    def open(self) -> SourceData:
        """Return the arrays of the file `path`, or of the only .npz file in the folder `path`, read row by row.

        Images are uint8, or float in [0, 1], [N, H, W] or [N, H, W, C]; labels are integers [N]. `classes`, an array of
        strings, is optional, and so is the test part. Pickled arrays are refused.

        Raises:
            UserError: there is no such file, it is damaged, a key is missing, or an array has a wrong shape, type or
                value.
        """
        file = _find(Path(self.path))
        names = _names(file)
        keys = next((keys for keys in _KEYS if keys[0] in names), None)
        if keys is None or keys[1] not in names:
            raise UserError(
                f"{file} holds the arrays {_listed(names) or 'none'}: it needs images and labels (or x_train and "
                "y_train, or train_images and train_labels)"
            )
        if (keys[2] in names) != (keys[3] in names):
            raise UserError(f"{file} holds only one of {keys[2]} and {keys[3]}: give both or none")
        classes = check_names(_array(file, "classes")) if "classes" in names else ()
        pairs = [keys[:2], keys[2:]] if keys[2] in names else [keys[:2]]
        train, *test = (self._part(file, images, labels, len(classes) or None) for images, labels in pairs)
        unused = [name for name in names if name not in ("classes", *(key for pair in pairs for key in pair))]
        return SourceData(
            name=file.stem,
            classes=classes or numbered_classes(*(part.labels for part in (train, *test))),
            train=train,
            test=test[0] if test else None,
            origin=f"arrays of {file.name}" + (", with their own test split" if test else ""),
            licence=UNKNOWN_LICENCE,
            checksums={file.name: "sha256:" + sha256_file(file)},
            remarks=(f"the arrays {_listed(unused)} of {file.name} are left out",) if unused else (),
        )

    def _part(self, file: Path, images_key: str, labels_key: str, n_classes: int | None) -> Part:
        images = _array(file, images_key)
        check_images(images)
        labels = check_labels(_array(file, labels_key), len(images), n_classes)
        return streamed_part(images, labels, self.image_size)


def _find(path: Path) -> Path:
    if regular_file(path).is_file():
        return path
    files = sorted(path.glob("*.npz"))
    if not files:
        raise missing(path, "a .npz file, or a folder with one")
    if len(files) > 1:
        raise UserError(f"dataset.path {path} holds {len(files)} .npz files: name one of them")
    return regular_file(files[0])


def _names(file: Path) -> list[str]:
    with explain_damage(file, *_KIND), file.open("rb") as stream:
        if stream.read(6) == b"\x93NUMPY":
            raise UserError(f"{file} holds a single array: save images and labels together with numpy.savez")
        with zipfile.ZipFile(stream) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    if (twice := first_duplicate(names)) is not None:
        raise UserError(f"{file} holds two arrays called {_listed([twice])}: keep the one that is meant")
    return names


def _listed(names: list[str]) -> str:
    shown = [repr(name)[1:-1][:60] for name in sorted(names)[:_NAMES_SHOWN]]
    return ", ".join(shown) + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")


def _array(file: Path, name: str) -> StreamedArray:
    """Return the array `name` with what its header says."""
    with explain_damage(file, *_KIND), file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        member = archive.getinfo(f"{name}.npy" if f"{name}.npy" in archive.namelist() else name)
        check_expansion(member.file_size, member.compress_size, f"{file}: {name}")
        with archive.open(member) as content:
            head = io.BytesIO(content.read(_HEADER_BYTES))
        shape, is_fortran, dtype = read_npy_header(head)
        offset = head.tell()
    array = StreamedArray(f"{file}: {name}", shape, dtype, lambda: _values(file, member, offset), is_fortran)
    if offset + array.nbytes != member.file_size:
        raise UserError(
            f"{file} is cut off or damaged: {name} has {member.file_size - offset:,} bytes, its header says "
            f"{array.nbytes:,}; {_KIND[1]}"
        )
    return array


@contextmanager
def _values(file: Path, member: zipfile.ZipInfo, offset: int) -> Iterator[IO[bytes]]:
    with (
        explain_damage(file, *_KIND),
        file.open("rb") as stream,
        zipfile.ZipFile(stream) as archive,
        archive.open(member) as content,
    ):
        content.read(offset)
        yield content


def read_npy_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order (whether Fortran's) and type of the plain array that an .npy file has.

    Raises:
        ValueError: it has none.
    """
    version = np.lib.format.read_magic(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the .npy format is not for plain arrays")
    try:
        shape, is_fortran, dtype = readers[version](content)
    except tokenize.TokenError as error:
        # From numpy's reader of what Python 2 wrote, which it tries last.
        raise ValueError("the header of an array cannot be read") from error
    if dtype.hasobject or dtype.kind == "V":
        raise ValueError("it holds Python objects or records")
    if min(shape, default=0) < 0:
        raise ValueError("a size in its header is negative")
    return shape, is_fortran and len(shape) > 1, dtype
