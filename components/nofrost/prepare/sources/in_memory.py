"""Sources that are read into memory: the digits of scikit-learn, .npz files, and IDX files such as MNIST's."""

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.prepare.pixels import batch_length, resize_batch, to_levels
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Part, Source, SourceData, missing, register

# images and labels of the training part, then those of the test part
_NPZ_KEYS = (("images", "labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))

_IDX_NAME = re.compile(r"(?:.+-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4"}
_CHUNK_BYTES = 1 << 24


@register("digits")
class Digits(Source):
    """The handwritten digits that come with scikit-learn: real images without a download. `path` is not used."""

    needs_path = False
    libraries = ("numpy", "pillow", "scikit-learn")

    def open(self) -> SourceData:
        """Return the 1,797 digits of 8x8 pixels, their 17 levels (0 to 16) spread over 0 to 255."""
        # slow to import, and only this source needs it
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        images = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        return SourceData(
            name="digits",
            classes=tuple("0123456789"),
            train=array_part(images, labels.astype(np.int64), self.image_size),
            test=None,
            origin="Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, 1998), UCI Machine Learning "
            "Repository: its test set of 1,797 digits by 13 writers, as it comes with scikit-learn",
            licence="CC BY 4.0",
            checksums={
                "digits": "sha256:" + hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
            },
        )


@register("npz")
class Npz(Source):
    """Arrays in a .npz file: `images` and `labels`, or the `x_train`, `y_train`, `x_test`, `y_test` of Keras."""

    def open(self) -> SourceData:
        """Return the arrays of the file `path`, or of the only .npz file in the folder `path`, read into memory.

        Images are uint8, or float in [0, 1], [N, H, W] or [N, H, W, C]; labels are integers [N]. `classes`, an array of
        strings, is optional, and so is the test part. Pickled arrays are refused.

        Raises:
            UserError: there is no such file, it is damaged, a key is missing, or an array has a wrong shape, type or
                value.
        """
        file = _find_npz(Path(self.path))
        arrays = _load_npz(file)
        keys = next((keys for keys in _NPZ_KEYS if keys[0] in arrays), None)
        if keys is None or keys[1] not in arrays:
            raise UserError(
                f"{file} holds the arrays {', '.join(sorted(arrays)) or 'none'}: it needs images and labels "
                "(or x_train and y_train)"
            )
        if (keys[2] in arrays) != (keys[3] in arrays):
            raise UserError(f"{file} holds only one of {keys[2]} and {keys[3]}: give both or none")
        classes = _classes(arrays, file)
        images, labels = _npz_pair(arrays, keys[0], keys[1], classes, file)
        test = _npz_pair(arrays, keys[2], keys[3], classes, file) if keys[2] in arrays else None
        return SourceData(
            name=file.stem,
            classes=classes or numbered_classes(labels, test and test[1]),
            train=array_part(images, labels, self.image_size),
            test=array_part(*test, self.image_size) if test else None,
            origin=f"arrays of {file.name}" + (", with their own test split" if test else ""),
            licence=UNKNOWN_LICENCE,
            checksums={file.name: "sha256:" + sha256_file(file)},
        )


@register("idx")
class Idx(Source):
    """MNIST and its relatives: images and labels in IDX files, gzipped or not."""

    def open(self) -> SourceData:
        """Return the images of the folder `path`, as MNIST is published, read into memory.

        Expected are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, and for a test split of its own the
        same with ``t10k`` or ``test``; each may end in .gz, have '.' for the second '-', and a prefix such as
        ``emnist-``. Images are [N, H, W], or [N, H, W, C] in four dimensions.

        Raises:
            UserError: a file is missing, cut off or not IDX, or images and labels do not fit each other.
        """
        files = _find_idx(Path(self.path))
        train_images, train_labels = _idx_pair(files["train-images"], files["train-labels"])
        test = _idx_pair(files["test-images"], files["test-labels"]) if "test-images" in files else None
        return SourceData(
            name=Path(self.path).resolve().name,
            classes=numbered_classes(train_labels, test and test[1]),
            train=array_part(train_images, train_labels, self.image_size),
            test=array_part(*test, self.image_size) if test else None,
            origin="IDX files " + ", ".join(sorted(file.name for file in files.values())),
            licence=UNKNOWN_LICENCE,
            checksums={file.name: "sha256:" + sha256_file(file) for file in files.values()},
        )


def array_part(images: NDArray[Any], labels: NDArray[np.int64], image_size: int | None) -> Part:
    """Return images [N, H, W] or [N, H, W, C] (uint8, or float in [0, 1]) and their labels as a part of a source."""
    pixels = images[..., None] if images.ndim == 3 else images
    native = (int(pixels.shape[1]), int(pixels.shape[2]), int(pixels.shape[3]))
    shape = native if image_size is None else (image_size, image_size, native[2])

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        step = min(batch_length(native), batch_length(shape))
        for start in range(0, len(rows), step):
            yield resize_batch(to_levels(pixels[rows[start : start + step]]), image_size)

    return Part(labels, shape, read)


def check_images(images: NDArray[Any], origin: str) -> None:
    """Check that `images` are uint8 or float in [0, 1], [N, H, W] or [N, H, W, C] with 1 or 3 channels.

    Raises:
        UserError: they are not; the message begins with `origin`.
    """
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))
    if not shaped or 0 in images.shape:
        raise UserError(
            f"{origin} has shape {images.shape}: images must be [N, H, W] or [N, H, W, C] with 1 or 3 channels last"
        )
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"{origin} is {images.dtype}: images must be uint8, or floats in [0, 1]")
    # both are NaN when any pixel is
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise UserError(f"{origin} holds values from {low:g} to {high:g}: float images must lie in [0, 1]")


def check_labels(labels: NDArray[Any], n_images: int, n_classes: int | None, origin: str) -> NDArray[np.int64]:
    """Return the labels as int64 [N]; [N, 1] is accepted, as some published arrays are.

    Args:
        n_classes: number of classes; None to derive it from the labels (every class has an image, so that a label is
            then less than the number of images).

    Raises:
        UserError: they are not integers, not one for each image, or out of range; the message names the first row.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (n_images,):
        raise UserError(f"{origin} has shape {labels.shape}: there must be one label for each of {n_images} images")
    if not np.issubdtype(flat.dtype, np.integer):
        raise UserError(f"{origin} is {labels.dtype}: labels must be whole numbers (an integer array)")
    bound = n_images if n_classes is None else n_classes
    wrong = np.flatnonzero((flat < 0) | (flat >= bound))
    if len(wrong):
        row = int(wrong[0])
        reason = f"with {bound} classes" if n_classes is not None else f"with {bound} images, all classes present,"
        raise UserError(f"{origin}: row {row} is {flat[row]}: {reason} labels must be 0 to {bound - 1}")
    return flat.astype(np.int64)


def numbered_classes(*labels: NDArray[np.int64] | None) -> tuple[str, ...]:
    """Return the class names "0", "1", ... up to the largest label."""
    return tuple(map(str, range(1 + max(int(array.max()) for array in labels if array is not None))))


def _find_npz(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.npz"))
    if not files:
        raise missing(path, "a .npz file, or a folder with one")
    if len(files) > 1:
        raise UserError(f"dataset.path {path} holds {len(files)} .npz files: name one of them")
    return files[0]


def _load_npz(file: Path) -> dict[str, NDArray[Any]]:
    known = {"classes"}.union(*_NPZ_KEYS)
    try:
        # opened here, as numpy does not close a file that is damaged
        with file.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{file} holds a single array: save images and labels together with numpy.savez")
            return {key: archive[key] for key in archive.files if key in known}
    except UserError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise UserError(
            f"{file} is cut off or not a .npz file of plain arrays ({error}): save it again with numpy.savez"
        ) from None


def _classes(arrays: dict[str, NDArray[Any]], file: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        return ()
    classes = arrays["classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U" or not len(classes):
        raise UserError(f"{file}: classes is {classes.dtype} {classes.shape}: it must be a list of names (strings)")
    return tuple(map(str, classes))


def _npz_pair(
    arrays: dict[str, NDArray[Any]], images_key: str, labels_key: str, classes: tuple[str, ...], file: Path
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    images = arrays[images_key]
    check_images(images, f"{file}: {images_key}")
    labels = check_labels(arrays[labels_key], len(images), len(classes) or None, f"{file}: {labels_key}")
    return images, labels


def _find_idx(path: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        match = _IDX_NAME.fullmatch(file.name)
        if match is None or not file.is_file():
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
    return files


def _idx_pair(images_file: Path, labels_file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = read_idx(images_file), read_idx(labels_file)
    check_images(images, str(images_file))
    return images, check_labels(labels, len(images), None, str(labels_file))


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file.

    The file has two zero bytes, the type, the number of dimensions, the sizes (big-endian, 32 bits), then the values.

    Raises:
        UserError: the file is cut off, longer than its header says, or not IDX.
    """
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 4:
                raise UserError(f"{file} does not begin like an IDX file of whole numbers: remove or replace it")
            dtype = np.dtype(_IDX_TYPES[magic[2]])
            sizes = np.frombuffer(_read_bytes(stream, 4 * magic[3], file), dtype=">u4").tolist()
            count = 1
            for size in sizes:
                count *= size
            values = np.frombuffer(_read_bytes(stream, count * dtype.itemsize, file), dtype=dtype)
            if stream.read(1):
                raise UserError(f"{file} is longer than its header says: remove or replace it")
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{file} is cut off or not gzip ({error}): replace it") from None
    return values.reshape(sizes)


def _read_bytes(stream: IO[bytes] | gzip.GzipFile, length: int, file: Path) -> bytearray:
    content = bytearray()
    # in pieces, so that a wrong size in a header does not allocate more memory than the file has content
    while len(content) < length:
        piece = stream.read(min(_CHUNK_BYTES, length - len(content)))
        if not piece:
            raise UserError(f"{file} is cut off: {length} bytes should follow, {len(content)} do; replace it")
        content += piece
    return content
